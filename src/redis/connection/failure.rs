//! What an error of fred means.

use fred::error::{Error as FredError, ErrorKind};

use crate::error::{Error, Kind};

/// Whether the server gave no answer at all, or only that it cannot answer yet: what a breaker counts.
///
/// A server that answers an error is there, even if it is out of memory or a replica.
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

/// Makes an error of fred ours. fred gives nearly all errors of the server the kind `Unknown`: the text decides.
pub(crate) fn classify(error: FredError) -> Error {
    // A server that does not know a command quotes its arguments, and those of AUTH are a password.
    let error = if error.details().contains("with args beginning with") {
        FredError::new(error.kind().clone(), "ERR unknown command")
    } else {
        error
    };
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
        ErrorKind::Protocol => (Kind::Unavailable, "redis answered out of turn"),
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

/// What errors of a server begin with that concern the user; the last two are of commands inside a script.
const FORBIDDEN: [&str; 5] = [
    "NOPERM",
    "NOAUTH",
    "WRONGPASS",
    "ERR The user executing the script",
    "ERR ACL failure in script",
];

/// What errors of a server or of fred's router begin with when trying again later may work.
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

/// Those among them of a router that has no connection, and of a server that is still reading its data.
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
