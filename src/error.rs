//! The error type of the crate.

use std::{error::Error as StdError, fmt, sync::Arc};

/// Why a command to Redis failed, or why this crate refused what it was asked to do.
///
/// The `is_*` predicates tell the kind of the error. The text and the [`source`](StdError::source) are for people and may
/// change between releases. They never contain a password, a cookie or a session token.
///
/// ```
/// # async fn example() {
/// match tower_fred::Redis::connect("gopher://localhost").await {
///     Err(error) if error.is_config() => eprintln!("check REDIS_URL: {error}"),
///     Err(error) if error.is_unavailable() => eprintln!("Redis is not available: {error}"),
///     Err(error) => eprintln!("{error}"),
///     Ok(_redis) => {}
/// }
/// # }
/// ```
pub struct Error {
    kind: Kind,
    message: String,
    source: Option<Arc<dyn StdError + Send + Sync>>,
}

/// The private kinds behind the predicates.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A setting that cannot work.
    Config,
    /// The server refused the credentials, or the user lacks a permission.
    Auth,
    /// The server lacks what this crate needs.
    Unsupported,
    /// No answer within the deadline.
    Timeout,
    /// No connection, a server that is loading, failing over or out of memory, or too many commands in flight.
    Unavailable,
    /// The server answered a command with any other error.
    Command,
    /// A reply or a stored value that this crate did not write, or cannot read any more.
    Corrupt,
    /// A value of the caller that cannot be encoded or decoded.
    #[cfg(any(feature = "cache", feature = "session"))]
    Codec,
    /// The session ended, or its token was replaced, while this request ran.
    #[cfg(feature = "session")]
    Interrupted,
    /// The session lacks the permission.
    #[cfg(feature = "session")]
    Forbidden,
    /// The response headers were sent already, so no cookie can be set.
    #[cfg(feature = "session")]
    TooLate,
}

impl Error {
    pub(crate) fn new(kind: Kind, message: impl Into<String>) -> Self {
        Self {
            kind,
            message: message.into(),
            source: None,
        }
    }

    pub(crate) fn config(message: impl Into<String>) -> Self {
        Self::new(Kind::Config, message)
    }

    pub(crate) fn kind(&self) -> Kind {
        self.kind
    }

    pub(crate) fn caused_by(mut self, source: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        self.source = Some(Arc::from(source.into()));
        self
    }

    /// The same error for another caller of the same command.
    pub(crate) fn share(&self) -> Self {
        Self {
            kind: self.kind,
            message: self.message.clone(),
            source: self.source.clone(),
        }
    }

    /// True for a setting that cannot work: an invalid URL, a namespace with braces, a client that would lose commands.
    pub fn is_config(&self) -> bool {
        self.kind == Kind::Config
    }

    /// True when the server refused the credentials, or the user may not run a command that is needed.
    pub fn is_auth(&self) -> bool {
        self.kind == Kind::Auth
    }

    /// True when the server is too old, or lacks something else that this crate needs.
    pub fn is_unsupported(&self) -> bool {
        self.kind == Kind::Unsupported
    }

    /// True when no answer came within the deadline. Such an error [is unavailable](Self::is_unavailable) too.
    pub fn is_timeout(&self) -> bool {
        self.kind == Kind::Timeout
    }

    /// True when Redis cannot serve the command now, but may later: not connected, no answer in time, loading, failing over,
    /// out of memory, or too many commands in flight.
    pub fn is_unavailable(&self) -> bool {
        matches!(self.kind, Kind::Unavailable | Kind::Timeout)
    }

    /// True when stored data is not what this crate wrote there: it was damaged, or written by another program.
    pub fn is_corrupt(&self) -> bool {
        self.kind == Kind::Corrupt
    }

    /// True when a value cannot be encoded or is out of bounds, or when a stored value does not decode as the requested type.
    #[cfg(any(feature = "cache", feature = "session"))]
    pub fn is_codec(&self) -> bool {
        self.kind == Kind::Codec
    }

    /// True when the session ended (logout, expiry) or its token was replaced (login) while this request ran. None of this
    /// request's changes were written to it.
    #[cfg(feature = "session")]
    pub fn is_interrupted(&self) -> bool {
        self.kind == Kind::Interrupted
    }

    /// True when there is a session, but it does not allow this: the CSRF token is not the session's, the login was too long
    /// ago, the user who logs in has too many sessions, or the user's sessions were revoked during the login.
    #[cfg(feature = "session")]
    pub fn is_forbidden(&self) -> bool {
        self.kind == Kind::Forbidden
    }

    /// True when a session should begin or get a new token after the response headers were sent.
    #[cfg(feature = "session")]
    pub fn is_too_late(&self) -> bool {
        self.kind == Kind::TooLate
    }

    /// The response to a request that failed with this error. It does not tell the client the cause.
    #[cfg(any(feature = "axum", feature = "session"))]
    pub(crate) fn response(&self) -> http::Response<&'static str> {
        use http::{HeaderValue, Response, StatusCode, header};

        let (status, text) = if self.is_unavailable() {
            (StatusCode::SERVICE_UNAVAILABLE, "temporarily unavailable\n")
        } else {
            match self.kind {
                #[cfg(feature = "session")]
                Kind::Interrupted => (StatusCode::CONFLICT, "the session ended meanwhile\n"),
                #[cfg(feature = "session")]
                Kind::Forbidden => (StatusCode::FORBIDDEN, "forbidden\n"),
                _ => (StatusCode::INTERNAL_SERVER_ERROR, "internal error\n"),
            }
        };
        let mut response = Response::new(text);
        *response.status_mut() = status;
        let headers = response.headers_mut();
        headers.insert(
            header::CONTENT_TYPE,
            HeaderValue::from_static("text/plain; charset=utf-8"),
        );
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if status == StatusCode::SERVICE_UNAVAILABLE {
            // RFC 9110 §10.2.3, in seconds. The handle reconnects within a second after Redis is back.
            headers.insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
        }
        response
    }
}

/// 503 with `Retry-After` when Redis [is unavailable](Error::is_unavailable), 409 when the session
/// [was interrupted](Error::is_interrupted), 403 when it [is forbidden](Error::is_forbidden), otherwise 500. The cause of a
/// 500 is logged, in at most one line a second, and not sent.
#[cfg(feature = "axum")]
impl axum::response::IntoResponse for Error {
    fn into_response(self) -> axum::response::Response {
        use crate::log_pace::{LogPace, uptime};

        let response = self.response();
        // An outage is logged once by the handle.
        if response.status() == http::StatusCode::INTERNAL_SERVER_ERROR {
            // At most one line a second: a client can cause this error at any rate, for example with values that are too large.
            static FAILED: LogPace = LogPace::new();
            if let Some(omitted) = FAILED.admit(uptime()) {
                tracing::error!(target: "tower_fred", error = %self, omitted, "a handler failed");
            }
        }
        response.map(axum::body::Body::from)
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Error")
            .field("kind", &self.kind)
            .field("message", &self.message)
            .field("source", &self.source)
            .finish()
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.source.as_deref().map(|source| source as _)
    }
}
