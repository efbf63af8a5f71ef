//! What a caller is to do: make an entry, or use one.

use super::lead::Lead;
use crate::store::tiers::lookup::Usable;

/// What the caller of `Store::begin` is to do.
#[derive(Debug)]
pub(crate) enum Turn {
    /// Make the entry.
    Lead(Lead),
    /// Use one that another caller has made, or is making anew.
    Follow(Usable),
}
