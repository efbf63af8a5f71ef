//! Decides which responses write the changes of their handler.

use std::{fmt, sync::Arc};

use http::{StatusCode, response};

/// Decides by the head of a response whether the handler's changes are written.
#[derive(Clone, Default)]
pub(crate) struct CommitPredicate(Option<Arc<Predicate>>);

type Predicate = dyn Fn(&response::Parts) -> bool + Send + Sync;

impl CommitPredicate {
    pub(crate) fn new(commit: impl Fn(&response::Parts) -> bool + Send + Sync + 'static) -> Self {
        Self(Some(Arc::new(commit)))
    }

    pub(crate) fn call(&self, response: &response::Parts) -> bool {
        match &self.0 {
            Some(commit) => commit(response),
            None => !is_failed(response.status),
        }
    }
}

impl PartialEq for CommitPredicate {
    fn eq(&self, other: &Self) -> bool {
        match (&self.0, &other.0) {
            (Some(one), Some(other)) => Arc::ptr_eq(one, other),
            (None, None) => true,
            _ => false,
        }
    }
}

impl fmt::Debug for CommitPredicate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("CommitPredicate(..)")
    }
}

/// Whether a status says by default that the handler did not finish.
fn is_failed(status: StatusCode) -> bool {
    // RFC 9110 §15.6: the server failed. RFC 9110 §15.5.9: 408 is what timeout layers answer for a handler that they
    // dropped; a handler that finishes does not answer it.
    status.is_server_error() || status == StatusCode::REQUEST_TIMEOUT
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(status: u16) -> response::Parts {
        let response = http::Response::builder().status(status).body(());
        response.unwrap().into_parts().0
    }

    #[test]
    fn by_default_408_and_5xx_are_failed_and_nothing_else() {
        let commits = CommitPredicate::default();
        for status in 100..1000 {
            let failed = status == 408 || (500..600).contains(&status);
            assert_eq!(commits.call(&parts(status)), !failed, "{status}");
        }
    }

    #[test]
    fn a_predicate_takes_the_place_of_the_default() {
        let commits = CommitPredicate::new(|response| response.status != StatusCode::IM_A_TEAPOT);
        assert!(commits.call(&parts(500)) && !commits.call(&parts(418)));
    }
}
