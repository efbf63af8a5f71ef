//! The one error of the crate.

use std::{error::Error as StdError, fmt};

/// What went wrong between this crate and Redis, or in what was asked of it.
///
/// Ask the `is_*` predicates what kind of error it is; the text and the [`source`](StdError::source) are for people and
/// may change between releases. Neither ever holds a password, a cookie or a session token.
///
/// ```
/// # async fn example() {
/// match tower_fred::Redis::connect("gopher://localhost").await {
///     Err(error) if error.is_config() => eprintln!("check REDIS_URL: {error}"),
///     Err(error) if error.is_unavailable() => eprintln!("Redis is away: {error}"),
///     Err(error) => eprintln!("{error}"),
///     Ok(_redis) => {}
/// }
/// # }
/// ```
pub struct Error {
    kind: Kind,
    message: String,
    source: Option<Box<dyn StdError + Send + Sync>>,
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
    /// The server answered a command with an error of another sort.
    Command,
    /// A reply or a stored value that is not ours, or no longer readable.
    Corrupt,
    /// A value of the caller that cannot be encoded or decoded.
    #[cfg(any(feature = "cache", feature = "session"))]
    Codec,
    /// The session ended, or its token was replaced, while this request ran.
    #[cfg(feature = "session")]
    Interrupted,
    /// The session may not do what was asked of it.
    #[cfg(feature = "session")]
    Forbidden,
    /// The response has left, and with it the last chance to set a cookie.
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
        self.source = Some(source.into());
        self
    }

    /// True for a setting that cannot work: an invalid URL, a namespace with braces, a client that would lose commands.
    pub fn is_config(&self) -> bool {
        self.kind == Kind::Config
    }

    /// True when the server refused the credentials, or the user may not run a command that is needed.
    pub fn is_auth(&self) -> bool {
        self.kind == Kind::Auth
    }

    /// True when the server is too old, or otherwise lacks what this crate needs.
    pub fn is_unsupported(&self) -> bool {
        self.kind == Kind::Unsupported
    }

    /// True when no answer came within the deadline. Such an error [is unavailable](Self::is_unavailable) too.
    pub fn is_timeout(&self) -> bool {
        self.kind == Kind::Timeout
    }

    /// True when Redis could not serve the command for now: not connected, no answer in time, loading, failing over, out
    /// of memory, or too many commands in flight. Trying again later may work.
    pub fn is_unavailable(&self) -> bool {
        matches!(self.kind, Kind::Unavailable | Kind::Timeout)
    }

    /// True when the stored data is not what this crate wrote: foreign data under one of our keys, damaged or swapped.
    pub fn is_corrupt(&self) -> bool {
        self.kind == Kind::Corrupt
    }

    /// True when a value could not be encoded or is out of bounds, or a stored value does not decode as the type that was
    /// asked for.
    #[cfg(any(feature = "cache", feature = "session"))]
    pub fn is_codec(&self) -> bool {
        self.kind == Kind::Codec
    }

    /// True when the session ended (logout, expiry) or its token was replaced (login) while this request ran. Nothing of
    /// this request was written to it.
    #[cfg(feature = "session")]
    pub fn is_interrupted(&self) -> bool {
        self.kind == Kind::Interrupted
    }

    /// True when a session is there and this is not allowed: a CSRF token that is not the session's, a login that is too
    /// long ago, a login of a user who has too many sessions or whose sessions were revoked meanwhile.
    #[cfg(feature = "session")]
    pub fn is_forbidden(&self) -> bool {
        self.kind == Kind::Forbidden
    }

    /// True when a session was to begin or to get a new token after the response headers had left.
    #[cfg(feature = "session")]
    pub fn is_too_late(&self) -> bool {
        self.kind == Kind::TooLate
    }

    /// The answer to a request that failed with this error. It tells a client nothing of the cause.
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
            // RFC 9110 §10.2.3, in seconds. The client reconnects within a second of Redis being back.
            headers.insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
        }
        response
    }
}

/// 503 with `Retry-After` when Redis [is unavailable](Error::is_unavailable), 409 when the session
/// [was interrupted](Error::is_interrupted), 403 when it [may not](Error::is_forbidden), otherwise 500. The cause of a 500 is logged, at
/// most one line a second, and not sent.
#[cfg(feature = "axum")]
impl axum::response::IntoResponse for Error {
    fn into_response(self) -> axum::response::Response {
        use crate::log_pace::{LogPace, uptime};

        let response = self.response();
        // An outage has its own warning, once.
        if response.status() == http::StatusCode::INTERNAL_SERVER_ERROR {
            // A client may cause it at will, such as by a value that is too large.
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
