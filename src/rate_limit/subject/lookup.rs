//! The identity that a key gives for one request, or the search for it.

use http::request::Parts;

use super::{
    key::Key,
    search::{Found, Search},
};

/// What a key gives for a request.
#[derive(Debug)]
pub(crate) enum Lookup {
    /// The head of the request was enough: the key is there, or is missing.
    Known(Found),
    /// The key has to be looked up elsewhere.
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
