//! `CacheFor` and `NoCache` as parts of axum responses.

use std::convert::Infallible;

use axum::response::{IntoResponseParts, ResponseParts};

use super::control::{CacheFor, NoCache};

impl IntoResponseParts for CacheFor {
    type Error = Infallible;

    fn into_response_parts(self, mut response: ResponseParts) -> Result<ResponseParts, Infallible> {
        response.extensions_mut().insert(self);
        Ok(response)
    }
}

impl IntoResponseParts for NoCache {
    type Error = Infallible;

    fn into_response_parts(self, mut response: ResponseParts) -> Result<ResponseParts, Infallible> {
        response.extensions_mut().insert(self);
        Ok(response)
    }
}
