//! [`Holder`]: a token, and what was proved about it.

use std::sync::Arc;

use bytes::Bytes;

use super::token::Token;

/// A token, and the lineage of the session that it was proved to open; empty as long as it was not.
#[derive(Clone)]
pub(crate) struct Holder {
    pub(crate) token: Token,
    pub(crate) lineage: Bytes,
    /// The user of the session, once a read has found one.
    pub(crate) user: Option<Arc<str>>,
}

impl Holder {
    pub(crate) fn unproved(token: Token) -> Self {
        Self {
            token,
            lineage: Bytes::new(),
            user: None,
        }
    }

    /// A token that was just made, of a session without a user.
    pub(crate) fn made(token: Token) -> Self {
        Self {
            lineage: token.lineage(),
            token,
            user: None,
        }
    }
}
