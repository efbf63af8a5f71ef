//! `Cache-Status` (RFC 9211): tells clients and outer layers what the cache did.

use std::{
    fmt::{self, Write},
    time::Duration,
};

use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};

use super::structured_text::{identifier, is_token};
use crate::store::Life;

/// What the cache did with a request. Every response of a [`Cache`](crate::cache::Cache) has it in its extensions, and
/// in its `Cache-Status` field (RFC 9211).
///
/// ```
/// use http::Response;
/// use tower_fred::cache::CacheStatus;
///
/// fn is_hit<B>(response: &Response<B>) -> bool {
///     response.extensions().get::<CacheStatus>().is_some_and(CacheStatus::is_hit)
/// }
/// # assert!(!is_hit(&Response::new(())));
/// ```
///
/// # Details
///
/// When an answer was not stored, or the cache did not handle the request, the parameter `detail` (RFC 9211 §2.8) and
/// [`detail_word`](Self::detail_word) state the reason, in one of these words. Later versions may add words.
///
/// Because of this request; the answer to another request may be stored:
///
/// | `detail` | |
/// | --- | --- |
/// | `authorization` | The request has `Authorization`, and the answer has no `public`, `must-revalidate` or `s-maxage`. |
/// | `head` | An answer to `HEAD` has no body to store. |
/// | `request-no-store` | The request has `no-store`. |
///
/// Because the answer is for this client alone:
///
/// | `detail` | |
/// | --- | --- |
/// | `inner-cache` | A cache inside this one decided whether to store it. |
/// | `session` | The [session](crate::Session) was used, or a rate limit inside of this layer refused the request. See [`behind_guard`](crate::cache::CacheLayer::behind_guard) for pages behind a login. |
///
/// Because of the answer:
///
/// | `detail` | |
/// | --- | --- |
/// | `clear-site-data` | It has `Clear-Site-Data`, which tells one client to delete its data. |
/// | `client-status` | 428, 429, 431 or 511, which are about one client (RFC 6585). |
/// | `event-stream` | `text/event-stream`, which does not end. |
/// | `expired` | It is stale when it comes, and has no validator. |
/// | `fields` | It has too many header fields, or too long ones. |
/// | `handler` | The handler put [`NoCache`](crate::cache::NoCache) into its extensions. |
/// | `interim` | Its status is below 200. |
/// | `length` | Its body is longer than [`max_body`](crate::cache::CacheLayer::max_body), or not of the length that it states. |
/// | `must-understand` | It has `must-understand`, and the cache does not know its status. |
/// | `no-lifetime` | Neither it nor the layer states a lifetime. |
/// | `no-store` | It has `no-store`. |
/// | `not-modified` | 304, for a condition of the client. |
/// | `partial-content` | 206. |
/// | `precondition` | 412 or 416, which are about a condition or a range of this request. |
/// | `private` | It has `private`. |
/// | `set-cookie` | It sets a cookie. |
/// | `status` | Its status is not one of [`statuses`](crate::cache::CacheLayer::statuses). |
/// | `too-many-tags` | It has more than 128 tags and groups. |
/// | `vary-any` | It has `Vary: *`. |
/// | `vary-authorization`, `vary-cookie` | `Vary` names this field, and the key does not have it. |
///
/// Because of the cache:
///
/// | `detail` | |
/// | --- | --- |
/// | `no-randomness` | The system gave no random bytes. |
/// | `stored-meanwhile` | Another request has stored the same. |
/// | `too-many-variants` | This process has stored 32 variants of the URL already. |
///
/// With `fwd=bypass`, when the cache did not take part:
///
/// | `detail` | |
/// | --- | --- |
/// | `bypass-when` | By [`bypass_when`](crate::cache::CacheLayer::bypass_when). |
/// | `conditional` | The request has `If-Match` or `If-Unmodified-Since`. |
/// | `content` | The request has content. |
/// | `host` | The request names no valid host, or two. |
/// | `unavailable` | Redis did not answer. |
/// | `upgrade` | The request has `Upgrade`. |
///
/// When the answer is not the one that the handler gave, or the handler gave none:
///
/// | `detail` | |
/// | --- | --- |
/// | `stale-if-error` | The stored answer replaces an error of the handler: its error for this request or, with `hit`, one from a moment ago. |
/// | `contradicted` | The handler gave a 304 about another answer, and cannot be asked again: see [`empty_body`](crate::cache::CacheLayer::empty_body). |
/// | `only-if-cached` | 504: nothing is stored, and the client asked only for a stored answer. Then there is no field. |
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CacheStatus {
    outcome: Outcome,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    Hit {
        /// Negative for a stale answer.
        ttl_ms: i64,
        detail: Option<&'static str>,
    },
    Forwarded {
        why: Forward,
        /// The handler's status, if the client got another one.
        status: Option<StatusCode>,
        stored: bool,
        collapsed: bool,
        detail: Option<&'static str>,
    },
    Refused,
}

/// Why a request went on to the handler (RFC 9211 §2.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Forward {
    /// `bypass`: the cache does not handle such requests, or Redis did not answer.
    Bypass,
    /// `method`: the method's answers are not cached.
    Method,
    /// `uri-miss`: nothing is stored for this URL.
    UriMiss,
    /// `vary-miss`: something is stored for this URL, but for other request fields.
    VaryMiss,
    /// `stale`: what is stored is no longer fresh.
    Stale,
    /// `request`: what is stored is fresh, but the request does not allow it.
    Request,
}

impl CacheStatus {
    pub(crate) fn hit(life: &Life, now_ms: u64) -> Self {
        let signed = |ms: u64| i64::try_from(ms).unwrap_or(i64::MAX);
        let ttl_ms = signed(life.lifetime_ms) - signed(life.age_ms(now_ms));
        let ttl_ms = ttl_ms.clamp(-MOST_MILLIS, MOST_MILLIS);
        let detail = None;
        Self {
            outcome: Outcome::Hit { ttl_ms, detail },
        }
    }

    pub(crate) fn forwarded(why: Forward) -> Self {
        let outcome = Outcome::Forwarded {
            why,
            status: None,
            stored: false,
            collapsed: false,
            detail: None,
        };
        Self { outcome }
    }

    /// The handler's status, if the client gets another one.
    pub(crate) fn status(mut self, code: StatusCode) -> Self {
        if let Outcome::Forwarded { status, .. } = &mut self.outcome {
            *status = Some(code);
        }
        self
    }

    pub(crate) fn stored(mut self, is_stored: bool) -> Self {
        if let Outcome::Forwarded { stored, .. } = &mut self.outcome {
            *stored = is_stored;
        }
        self
    }

    /// The answer was given to another request.
    pub(crate) fn collapsed(mut self) -> Self {
        if let Outcome::Forwarded { collapsed, .. } = &mut self.outcome {
            *collapsed = true;
        }
        self
    }

    pub(crate) fn detail(mut self, text: impl Into<Option<&'static str>>) -> Self {
        if let Outcome::Forwarded { detail, .. } | Outcome::Hit { detail, .. } = &mut self.outcome {
            *detail = text.into();
        }
        self
    }

    /// The client asked only for a stored answer, and there was none.
    pub(crate) fn refused() -> Self {
        let outcome = Outcome::Refused;
        Self { outcome }
    }

    /// True when the answer came from the cache and the handler did not run for it.
    pub fn is_hit(&self) -> bool {
        matches!(self.outcome, Outcome::Hit { .. })
    }

    /// For how long a hit stays fresh; zero if it was stale.
    pub fn ttl(&self) -> Option<Duration> {
        match self.outcome {
            Outcome::Hit { ttl_ms, .. } => {
                Some(Duration::from_millis(u64::try_from(ttl_ms).unwrap_or(0)))
            }
            Outcome::Forwarded { .. } | Outcome::Refused => None,
        }
    }

    /// Why the handler ran; `None` on a hit, and when the cache answered 504 to a request with `only-if-cached`.
    pub fn forward(&self) -> Option<Forward> {
        match self.outcome {
            Outcome::Forwarded { why, .. } => Some(why),
            Outcome::Hit { .. } | Outcome::Refused => None,
        }
    }

    /// True when the handler gave this answer to another request at the same time.
    pub fn is_collapsed(&self) -> bool {
        matches!(
            self.outcome,
            Outcome::Forwarded {
                collapsed: true,
                ..
            }
        )
    }

    /// True when the handler's answer is stored (RFC 9211 §2.5): the cache read its whole body before it sent the head,
    /// gives it to the waiting requests, and writes it to Redis.
    ///
    /// The answer does not wait for Redis to confirm the write. This is false while Redis is known not to answer or not
    /// to take entries. It may be true for the first answer that Redis does not take, or for one that is purged at the
    /// same moment. It is false for a body that comes in later and is stored when it is complete.
    pub fn is_stored(&self) -> bool {
        matches!(self.outcome, Outcome::Forwarded { stored: true, .. })
    }

    /// Why the answer was not stored, or the request was handled in another way than usual: a word of the tables
    /// [above](Self#details).
    pub fn detail_word(&self) -> Option<&'static str> {
        match self.outcome {
            Outcome::Forwarded { detail, .. } | Outcome::Hit { detail, .. } => detail,
            Outcome::Refused => Some("only-if-cached"),
        }
    }

    /// Appends this status to the `Cache-Status` field, under the cache's `name`.
    pub(crate) fn write(&self, name: &str, headers: &mut HeaderMap) {
        // RFC 9211 §2: not on a response that the cache generated itself
        if self.outcome == Outcome::Refused {
            return;
        }
        let mut line = Line::default();
        let value = match line.push(name).and_then(|()| self.push_to(&mut line)) {
            Some(()) => HeaderValue::from_bytes(line.as_bytes()),
            None => HeaderValue::try_from(format!("{name}; {self}")),
        };
        if let Ok(value) = value {
            headers.append(CACHE_STATUS, value);
        }
    }

    /// Writes the parameters as `Display` does; `None` if they are too long.
    fn push_to(&self, line: &mut Line) -> Option<()> {
        // Hits are written without `fmt`, which is faster.
        if let Outcome::Hit {
            ttl_ms: 0..,
            detail: None,
        } = self.outcome
        {
            line.push("; hit; ttl=")?;
            return line.push_number(self.ttl()?.as_secs());
        }
        write!(line, "; {self}").ok()
    }
}

/// A number as a field value.
pub(crate) fn seconds(number: u64) -> HeaderValue {
    let mut line = Line::default();
    let value = line.push_number(number);
    let value = value.and_then(|()| HeaderValue::from_bytes(line.as_bytes()).ok());
    value.unwrap_or_else(|| HeaderValue::from(number))
}

/// A buffer on the stack for a short field value. It needs one allocation less than a `String`.
struct Line {
    bytes: [u8; 128],
    length: usize,
}

impl Line {
    fn as_bytes(&self) -> &[u8] {
        &self.bytes[..self.length]
    }

    /// `None` when the text does not fit, as below.
    fn push(&mut self, text: &str) -> Option<()> {
        let end = self.length + text.len();
        let room = self.bytes.get_mut(self.length..end)?;
        room.copy_from_slice(text.as_bytes());
        self.length = end;
        Some(())
    }

    fn push_number(&mut self, mut number: u64) -> Option<()> {
        let end = self.length + number.checked_ilog10().map_or(1, |log| log as usize + 1);
        for digit in self.bytes.get_mut(self.length..end)?.iter_mut().rev() {
            *digit = b'0' + (number % 10) as u8;
            number /= 10;
        }
        self.length = end;
        Some(())
    }
}

impl Default for Line {
    fn default() -> Self {
        Self {
            bytes: [0; 128],
            length: 0,
        }
    }
}

impl fmt::Write for Line {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.push(text).ok_or(fmt::Error)
    }
}

/// The parameters of RFC 9211, such as `hit; ttl=41`.
impl fmt::Display for CacheStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.outcome {
            Outcome::Hit { ttl_ms, detail } => {
                write!(f, "hit; ttl={}", ttl_ms.div_euclid(1000))?;
                write_detail(f, detail)
            }
            Outcome::Refused => f.write_str("detail=only-if-cached"),
            Outcome::Forwarded {
                why,
                status,
                stored,
                collapsed,
                detail,
            } => {
                write!(f, "fwd={why}")?;
                if let Some(status) = status {
                    write!(f, "; fwd-status={}", status.as_u16())?;
                }
                if stored {
                    f.write_str("; stored")?;
                }
                if collapsed {
                    f.write_str("; collapsed")?;
                }
                write_detail(f, detail)
            }
        }
    }
}

/// RFC 9211 §2.8: a token, or a string.
fn write_detail(f: &mut fmt::Formatter<'_>, detail: Option<&'static str>) -> fmt::Result {
    let Some(detail) = detail else {
        return Ok(());
    };
    match is_token(detail) {
        true => write!(f, "; detail={detail}"),
        false => write!(f, "; detail={}", identifier(detail).unwrap_or_default()),
    }
}

/// The token of RFC 9211, such as `uri-miss`.
impl fmt::Display for Forward {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Bypass => "bypass",
            Self::Method => "method",
            Self::UriMiss => "uri-miss",
            Self::VaryMiss => "vary-miss",
            Self::Stale => "stale",
            Self::Request => "request",
        })
    }
}

/// RFC 9651 §3.3.1: an integer has 15 digits at most.
const MOST_MILLIS: i64 = 999_999_999_999_999 * 1000;
const CACHE_STATUS: HeaderName = HeaderName::from_static("cache-status");

#[cfg(test)]
mod tests {
    use sfv::{List, Parser};

    use super::*;

    #[test]
    fn numbers_and_names_of_any_length_are_written() {
        for number in [0, 1, 9, 10, 99, 100, 12_345, u64::MAX] {
            assert_eq!(seconds(number), number.to_string());
        }
        for length in [1, 100, 128, 500] {
            let (name, mut headers) = ("n".repeat(length), HeaderMap::new());
            let life = Life {
                lifetime_ms: 1_999,
                ..Life::default()
            };
            CacheStatus::hit(&life, 0).write(&name, &mut headers);
            CacheStatus::forwarded(Forward::Stale).write(&name, &mut headers);
            let lines: Vec<_> = headers.get_all(CACHE_STATUS).iter().collect();
            let hit = format!("{name}; hit; ttl=1");
            assert_eq!(lines, [&hit, &format!("{name}; fwd=stale")]);
        }
    }

    #[test]
    fn the_field_is_a_structured_list_with_this_cache_last() {
        let mut headers = HeaderMap::new();
        headers.append(CACHE_STATUS, HeaderValue::from_static("origin; hit"));
        let life = Life {
            lifetime_ms: 41_900,
            ..Life::default()
        };
        CacheStatus::hit(&life, 0).write("shop", &mut headers);
        CacheStatus::hit(&life, 42_000).write("shop", &mut headers);
        CacheStatus::forwarded(Forward::UriMiss)
            .stored(true)
            .status(StatusCode::NOT_MODIFIED)
            .detail("x")
            .write("\"a b\"", &mut headers);
        CacheStatus::refused().write("shop", &mut headers);
        let lines: Vec<_> = headers.get_all(CACHE_STATUS).iter().collect();
        assert_eq!(
            lines,
            [
                "origin; hit",
                "shop; hit; ttl=41",
                "shop; hit; ttl=-1",
                "\"a b\"; fwd=uri-miss; fwd-status=304; stored; detail=x"
            ]
        );
        for line in lines {
            assert!(
                Parser::new(line.as_bytes()).parse::<List>().is_ok(),
                "{line:?}"
            );
        }
    }
}
