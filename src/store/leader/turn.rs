//! Whose turn it is to make an entry.

use super::lead::Lead;
use crate::store::tiers::lookup::Usable;

/// What the caller of [`Store::begin`] is to do.
#[derive(Debug)]
pub(crate) enum Turn {
    /// Make the entry.
    Lead(Lead),
    /// Use one that somebody else has made, or is making anew.
    Follow(Usable),
}
