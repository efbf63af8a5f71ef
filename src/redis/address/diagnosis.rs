//! Why servers cannot be connected to, in words for whoever starts the application.

use std::{borrow::Cow, error::Error as _};

use fred::{error::Error as FredError, types::config::Server};

use crate::error::{Error, Kind};

/// A server that could not be connected to, by its address, and why.
#[derive(Debug)]
pub(crate) struct Unreached {
    pub(crate) server: String,
    pub(crate) error: Error,
}

impl Unreached {
    pub(crate) fn new(server: &Server, error: Error) -> Self {
        Self {
            server: show(server),
            error,
        }
    }
}

/// A server's address in messages; an IPv6 address is in brackets.
pub(crate) fn show(server: &Server) -> String {
    if server.host.contains(':') {
        format!("[{}]:{}", server.host, server.port)
    } else {
        server.to_string()
    }
}

/// The error of a start that reached none of these servers; it names each with its reason.
pub(crate) fn none_reached(mut failures: Vec<Unreached>, secure: bool) -> Error {
    let mut kind = None;
    let mut reasons = Vec::with_capacity(failures.len());
    for Unreached { server, error } in &failures {
        let (found, why) = diagnose(error, secure);
        let transport = if secure { " over TLS" } else { "" };
        reasons.push(format!("{server}{transport}: {why}"));
        // Where one of several may answer later, trying again may work.
        let again = matches!(found, Kind::Unavailable | Kind::Timeout);
        kind = match kind {
            None => Some(found),
            Some(first) if first != found && again => Some(found),
            first => first,
        };
    }
    let kind = kind.unwrap_or(Kind::Unavailable);
    let reasons = reasons.join("; ");
    let message = match kind {
        Kind::Auth if failures.len() == 1 => {
            format!("redis at {} refused the credentials", failures[0].server)
        }
        _ => format!("cannot connect to redis at {reasons}"),
    };
    let error = Error::new(kind, message);
    match failures.pop() {
        Some(last) => error.caused_by(last.error),
        None => error,
    }
}

/// Why a server cannot be connected to, and the kind of error that makes it.
///
/// Only for a first connection: later, whoever waits for an answer is told that there is none.
pub(crate) fn diagnose(error: &Error, secure: bool) -> (Kind, Cow<'static, str>) {
    let says = |text| cause_says(error, text);
    let reasons = if secure { &SECURE[..] } else { &PLAIN[..] };
    let found = reasons
        .iter()
        .chain(&REASONS)
        .find(|reason| says(reason.text));
    match found {
        Some(reason) => (reason.kind.unwrap_or(error.kind()), reason.why.into()),
        None if error.is_auth() => (Kind::Auth, "it refused the credentials".into()),
        None if secure && error.is_timeout() => (
            error.kind(),
            "no answer, as from a port for plain text".into(),
        ),
        None if error.is_timeout() => (error.kind(), "no answer".into()),
        None => (error.kind(), error.to_string().into()),
    }
}

/// Whether no sentinel was of use; otherwise it is the primary that they name.
pub(crate) fn is_of_sentinels(error: &Error) -> bool {
    [NO_SENTINEL, NO_PRIMARY]
        .into_iter()
        .any(|text| cause_says(error, text))
}

fn cause_says(error: &Error, text: &str) -> bool {
    let cause = error
        .source()
        .and_then(|cause| cause.downcast_ref::<FredError>());
    cause.is_some_and(|cause| cause.details().contains(text))
}

/// What a cause has in it, and what that means.
struct Reason {
    text: &'static str,
    /// The kind of error that it makes, if not the kind of its cause.
    kind: Option<Kind>,
    why: &'static str,
}

const fn reason(text: &'static str, why: &'static str) -> Reason {
    Reason {
        text,
        kind: None,
        why,
    }
}

const fn mistake(text: &'static str, why: &'static str) -> Reason {
    Reason {
        text,
        kind: Some(Kind::Config),
        why,
    }
}

/// Those of a connection with TLS. A server that refuses a client may close before its reason was read.
const SECURE: [Reason; 8] = [
    mistake(
        "InvalidCertificate(NotValidForName",
        "its certificate is for another name",
    ),
    mistake(
        "InvalidCertificate(",
        "its certificate is not valid, or of a CA that ca_certificate does not name",
    ),
    mistake(
        "AlertReceived(CertificateRequired",
        "it asks for a client_certificate",
    ),
    mistake(
        "AlertReceived(",
        "it refuses our TLS, as for a client_certificate that it does not trust",
    ),
    reason("ConnectionReset", CLOSED_SECURE),
    reason("ConnectionAborted", CLOSED_SECURE),
    reason("BrokenPipe", CLOSED_SECURE),
    reason("UnexpectedEof", CLOSED_SECURE),
];

const CLOSED_SECURE: &str =
    "it closed the connection, as without the client_certificate that it asks for";

/// Those of a connection in plain text.
const PLAIN: [Reason; 4] = [
    reason("ConnectionReset", CLOSED_PLAIN),
    reason("ConnectionAborted", CLOSED_PLAIN),
    reason("BrokenPipe", CLOSED_PLAIN),
    reason("UnexpectedEof", CLOSED_PLAIN),
];

const CLOSED_PLAIN: &str =
    "it closed the connection, as a port for TLS does, which needs a rediss:// URL";

/// Those of both.
const REASONS: [Reason; 10] = [
    reason("ConnectionRefused", "connection refused"),
    reason("HostUnreachable", "no route to it"),
    reason("NetworkUnreachable", "no route to it"),
    reason("failed to lookup address", "its name has no address"),
    reason("PermissionDenied", "no permission to connect"),
    reason("kind: NotFound", "there is no such socket"),
    reason("LOADING", "it is still reading its data"),
    mistake(
        "cluster support disabled",
        "it is not in a cluster, and needs a redis:// URL",
    ),
    reason(NO_SENTINEL, "none answers"),
    mistake(
        NO_PRIMARY,
        "they know no primary with this sentinelServiceName",
    ),
];

const NO_SENTINEL: &str = "Failed to connect to all sentinel nodes.";
const NO_PRIMARY: &str = "Missing primary address";
