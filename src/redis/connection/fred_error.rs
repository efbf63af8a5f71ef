//! Errors of fred, translated into errors of this crate.

use fred::error::{Error as FredError, ErrorKind};

use crate::error::{Error, Kind};

/// Whether the server gave no answer, or only that it cannot serve yet. The breaker counts these.
///
/// A server that answers with any other error is reachable, also when it is out of memory or a replica.
pub(crate) fn is_unanswered(error: &FredError) -> bool {
    match error.kind() {
        ErrorKind::Timeout
        | ErrorKind::IO
        | ErrorKind::Canceled
        | ErrorKind::Backpressure
        | ErrorKind::Sentinel => true,
        ErrorKind::Unknown => UNANSWERED
            .iter()
            .any(|prefix| error.details().starts_with(prefix)),
        _ => false,
    }
}

/// Translates an error. fred gives nearly all errors of a server the kind `Unknown`, so their text decides.
pub(crate) fn classify(error: FredError) -> Error {
    let (kind, message) = match error.kind() {
        ErrorKind::Timeout => (Kind::Timeout, "no answer from redis within the deadline"),
        ErrorKind::IO
        | ErrorKind::Canceled
        | ErrorKind::Backpressure
        | ErrorKind::Routing
        | ErrorKind::Sentinel
        | ErrorKind::Cluster => (Kind::Unavailable, "redis is unavailable"),
        ErrorKind::Auth => (Kind::Auth, "redis refused the credentials"),
        ErrorKind::Config | ErrorKind::Url => (Kind::Config, "invalid redis settings"),
        ErrorKind::Protocol => (Kind::Unavailable, "redis answered another command"),
        ErrorKind::Parse | ErrorKind::NotFound => {
            (Kind::Corrupt, "redis answered with an unexpected value")
        }
        _ => classify_text(error.details()),
    };
    Error::new(kind, message).caused_by(error)
}

fn classify_text(details: &str) -> (Kind, &'static str) {
    let begins = |prefixes: &[&str]| prefixes.iter().any(|prefix| details.starts_with(prefix));
    if begins(&UNAVAILABLE) {
        (Kind::Unavailable, "redis cannot serve the command for now")
    } else if begins(&FORBIDDEN) {
        (Kind::Auth, "the redis user may not run the command")
    } else if begins(&["WRONGTYPE"]) {
        (Kind::Corrupt, "the redis key holds data of another type")
    } else {
        (Kind::Command, "redis refused the command")
    }
}

/// How errors about the user and its permissions begin. The last two are about commands in a script.
const FORBIDDEN: [&str; 5] = [
    "NOPERM",
    "NOAUTH",
    "WRONGPASS",
    "ERR The user executing the script",
    "ERR ACL failure in script",
];

/// How errors of a server or of fred's router begin when a later attempt may succeed.
const UNAVAILABLE: [&str; 14] = [
    "LOADING",
    "READONLY",
    "MASTERDOWN",
    "CLUSTERDOWN",
    "TRYAGAIN",
    "BUSY",
    "NOREPLICAS",
    "MISCONF",
    "OOM",
    "ERR max number of clients",
    "Failed to route command.",
    "Failed to send command to router.",
    "channel closed",
    "Too many failed write attempts.",
];

/// Those of them that are no answer: from a router without a connection, from a server that still loads its data, and from a
/// replica that has lost its primary.
const UNANSWERED: [&str; 5] = [
    "LOADING",
    "MASTERDOWN",
    "Failed to route command.",
    "Failed to send command to router.",
    "channel closed",
];

#[cfg(test)]
mod tests {
    use super::*;

    fn kind_of(kind: ErrorKind, details: &'static str) -> Error {
        classify(FredError::new(kind, details))
    }

    #[test]
    fn the_text_decides_where_fred_does_not_know() {
        for text in UNAVAILABLE {
            assert!(kind_of(ErrorKind::Unknown, text).is_unavailable(), "{text}");
        }
        for text in FORBIDDEN {
            assert!(kind_of(ErrorKind::Unknown, text).is_auth(), "{text}");
        }
        assert!(
            kind_of(
                ErrorKind::InvalidArgument,
                "WRONGTYPE Operation against a key"
            )
            .is_corrupt()
        );
        let script_bug = kind_of(ErrorKind::Unknown, "ERR user_script:1: attempt to index");
        assert!(!script_bug.is_unavailable() && !script_bug.is_corrupt() && !script_bug.is_auth());
    }

    #[test]
    fn a_timeout_is_an_unavailable_error() {
        let error = kind_of(ErrorKind::Timeout, "Request timed out.");
        assert!(error.is_timeout() && error.is_unavailable());
    }
}
