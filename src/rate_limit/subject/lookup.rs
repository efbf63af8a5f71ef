//! The answer of a key about one request, or the search for it.

use http::request::Parts;

use super::{
    key::Key,
    search::{Found, Search},
};

/// What a key says about a request.
#[derive(Debug)]
pub(crate) enum Lookup {
    /// The key is in the head of the request, or is missing.
    Known(Found),
    /// The key has to be looked up somewhere else.
    Search(Search),
}

impl Lookup {
    pub(crate) fn of(key: &(impl Key + ?Sized), request: &Parts) -> Self {
        if let Some(search) = key.search(request) {
            return Self::Search(search);
        }
        Self::Known(match key.identity(request) {
            Some(identity) => Found::Identity(identity),
            None => Found::Missing(key.stand_in(request)),
        })
    }
}
