//! A token and what was proved of it.

use std::sync::Arc;

use bytes::Bytes;

use super::token::Token;

/// A token, and the lineage that it was once proved to belong to (empty as long as it was not).
#[derive(Clone)]
pub(crate) struct Holder {
    pub(crate) token: Token,
    pub(crate) lineage: Bytes,
    /// Whose session a read found it to be; nobody as long as there was none.
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

    /// A token that was just made, of a session of nobody.
    pub(crate) fn made(token: Token) -> Self {
        Self {
            lineage: token.lineage(),
            token,
            user: None,
        }
    }
}
