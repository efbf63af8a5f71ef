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

/// Whether fred says that it did not send the command: because there was no connection, or nobody to take it.
///
/// Other errors of a lost connection prove nothing: the command may have run.
pub(crate) fn is_unsent(error: &FredError) -> bool {
    UNSENT.contains(&error.details())
}

/// Whether the connection was lost while the command was on its way. Whether it ran is not known.
pub(crate) fn was_lost(error: &Error) -> bool {
    let cause = std::error::Error::source(error);
    let cause = cause.and_then(|cause| cause.downcast_ref::<FredError>());
    cause.is_some_and(|cause| matches!(cause.kind(), ErrorKind::IO | ErrorKind::Canceled))
}

/// Whether the server answered that it is a replica, or that its cluster cannot serve the key: another server may.
pub(crate) fn is_misplaced(error: &FredError) -> bool {
    let details = error.details();
    MISPLACED.iter().any(|code| {
        details.strip_prefix(code).is_some_and(|rest| rest.starts_with(' '))
            // The error of a command inside a script, as servers before Redis 7 report it.
            || details
                .split_once(": -")
                .is_some_and(|(_, inner)| inner.starts_with(code))
    })
}

/// Whether the server refused a command since its keys are not all on it: while their slot moves, or for another slot.
pub(crate) fn is_split(error: &FredError) -> bool {
    ["TRYAGAIN", "CROSSSLOT"]
        .iter()
        .any(|code| error.details().starts_with(code))
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

/// What errors of a server or of fred's router begin with when trying again later may work.
const UNAVAILABLE: [&str; 15] = [
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
    "Client is not initialized.",
    "channel closed",
    "Too many failed write attempts.",
];

/// Those of them that are no answer: from a router without a connection, from a server that still loads its data, and from a
/// replica that has lost its primary.
const UNANSWERED: [&str; 5] = [
    "LOADING",
    "Failed to route command.",
    "Failed to send command to router.",
    "Client is not initialized.",
    "channel closed",
];

/// The errors of fred that come before a command is written.
const UNSENT: [&str; 4] = [
    NO_ROUTE,
    "Failed to send command to router.",
    "Client is not initialized.",
    "Connection closed unexpectedly.",
];

/// What fred says between the loss of a connection and the first attempt to make another.
pub(crate) const NO_ROUTE: &str = "Failed to route command.";

/// The codes of errors by which a server refers to another one.
const MISPLACED: [&str; 3] = ["READONLY", "MASTERDOWN", "CLUSTERDOWN"];

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
    fn a_refusal_that_another_server_may_not_share_is_found_by_its_code() {
        let says = |text: &'static str| is_misplaced(&FredError::new(ErrorKind::Unknown, text));
        for text in [
            "READONLY You can't write against a read only replica.",
            "READONLY You can't write against a read only replica. script: 0b1f, on @user_script:1.",
            "ERR Error running script (call to f_0b1f): @user_script:1: -READONLY You can't write against a read only replica.",
            "MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'.",
            "CLUSTERDOWN The cluster is down",
        ] {
            assert!(says(text), "{text}");
        }
        for text in [
            "",
            "ERR READONLY",
            "READONLYISH",
            "NOPERM READONLY",
            "OOM command",
        ] {
            assert!(!says(text), "{text}");
        }
    }

    #[test]
    fn a_timeout_is_an_unavailable_error() {
        let error = kind_of(ErrorKind::Timeout, "Request timed out.");
        assert!(error.is_timeout() && error.is_unavailable());
    }
}
