//! Why the first connection to a server failed.

use std::error::Error as _;

use fred::error::Error as FredError;

use crate::error::{Error, Kind};

/// The kind of the error, and the end of its message: the reason, as far as the cause of `error` tells it.
pub(super) fn diagnose(error: &Error, secure: bool) -> (Kind, &'static str) {
    let cause = error
        .source()
        .and_then(|cause| cause.downcast_ref::<FredError>());
    let says = |text| cause.is_some_and(|cause| cause.details().contains(text));
    let closed = CLOSED.into_iter().any(says);
    if says("InvalidCertificate(NotValidForName") {
        (Kind::Config, ": its certificate is for another name")
    } else if says("InvalidCertificate(") {
        (
            Kind::Config,
            ": its certificate is not valid, or of a CA that ca_certificate does not name",
        )
    } else if says("AlertReceived(CertificateRequired") {
        (Kind::Config, ": it asks for a client_certificate")
    } else if says("AlertReceived(") {
        (
            Kind::Config,
            ": it refuses our TLS, as for a client_certificate that it does not trust",
        )
    } else if secure && closed {
        // A server that refuses a client may close the connection before the client has read the reason.
        (
            error.kind(),
            ": it closed the connection, as without the client_certificate that it asks for",
        )
    } else if secure && error.is_timeout() {
        (error.kind(), ": no answer, as from a port for plain text")
    } else if !secure && closed {
        (
            error.kind(),
            ": it closed the connection, as a port for TLS does, which needs a rediss:// URL",
        )
    } else {
        (error.kind(), "")
    }
}

/// What the text of an error contains when the server closed the connection.
const CLOSED: [&str; 4] = [
    "ConnectionReset",
    "ConnectionAborted",
    "BrokenPipe",
    "UnexpectedEof",
];
