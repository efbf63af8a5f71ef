//! What an error of the first connection tells about its cause.

use std::error::Error as _;

use fred::error::Error as FredError;

use crate::error::{Error, Kind};

/// Why a server cannot be connected to, where the cause tells, and the kind of error that makes it.
///
/// Only for the first connection: later, whoever waits for an answer is told that there is none.
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
        // A server that refuses a client may close before its reason was read.
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

/// What the causes of a connection that the server ended have in them.
const CLOSED: [&str; 4] = [
    "ConnectionReset",
    "ConnectionAborted",
    "BrokenPipe",
    "UnexpectedEof",
];
