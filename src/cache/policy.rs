//! What may be stored, and what may be answered with it (RFC 9111 §3 and §4). No clock, no I/O.

use std::time::Duration;

use http::{HeaderMap, HeaderName, StatusCode, header};

use super::{
    cache_control::{CacheControl, Scope},
    freshness::{Times, explicit_lifetime, initial_age_ms},
    status::Forward,
    vary,
};
use crate::store::Head;

/// What of a request decides whether its answer may be stored, and whether a stored one may answer it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Demands {
    authorization: bool,
    no_store: bool,
    only_if_cached: bool,
    no_cache: bool,
    max_age: Option<u32>,
    min_fresh: Option<u32>,
}

impl Demands {
    /// Reads a request. Without `directives` the client cannot force the handler to run, or forbid it.
    pub(crate) fn of(headers: &HeaderMap, directives: bool) -> Self {
        let stated = CacheControl::parse(headers);
        let storing = Self {
            authorization: headers.contains_key(header::AUTHORIZATION),
            no_store: stated.no_store,
            ..Self::default()
        };
        if !directives {
            return storing;
        }
        // RFC 9111 §5.4: Pragma counts only without Cache-Control
        let pragma = !headers.contains_key(header::CACHE_CONTROL) && pragma_no_cache(headers);
        Self {
            only_if_cached: stated.only_if_cached,
            no_cache: pragma || stated.no_cache != Scope::Nothing,
            max_age: stated.max_age,
            min_fresh: stated.min_fresh,
            ..storing
        }
    }

    /// RFC 9111 §5.2.1.7: without a stored answer there is to be none.
    pub(crate) fn only_if_cached(&self) -> bool {
        self.only_if_cached
    }

    /// Whether a stored answer will do (RFC 9111 §4 and §5.2.1); if not, why not.
    pub(crate) fn accept(&self, stored: &Head, now_ms: u64) -> Result<(), Forward> {
        let left = stored.fresh_for(now_ms);
        if left.is_zero() {
            return Err(Forward::Stale);
        }
        let least = Duration::from_secs(self.min_fresh.unwrap_or(0).into());
        let young = |most: u32| stored.age_ms(now_ms) <= u64::from(most) * 1000;
        let wanted = !self.no_cache && left >= least && self.max_age.is_none_or(young);
        if wanted {
            Ok(())
        } else {
            Err(Forward::Request)
        }
    }
}

/// How to store an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Verdict {
    pub(crate) lifetime_ms: u64,
    pub(crate) initial_age_ms: u64,
    /// Fields that are for this client alone.
    pub(crate) withheld: Vec<HeaderName>,
    /// Request fields that the answer depends on.
    pub(crate) vary: Vec<HeaderName>,
}

/// Whether and how the answer to a `GET` may be stored; if not, why not.
///
/// `ttl` is the lifetime that the server gives to answers that state none.
pub(crate) fn judge(
    demands: &Demands,
    status: StatusCode,
    headers: &HeaderMap,
    times: Times,
    ttl: Option<Duration>,
) -> Result<Verdict, &'static str> {
    let directives = CacheControl::parse(headers);
    if let Some(obstacle) = obstacle(demands, status, headers, &directives) {
        return Err(obstacle);
    }
    let lifetime_ms = explicit_lifetime(headers, &directives, times)
        .map(|seconds| seconds.saturating_mul(1000))
        .or_else(|| server_lifetime(status, ttl))
        .ok_or("no lifetime")?;
    let initial_age_ms = initial_age_ms(headers, times);
    if lifetime_ms <= initial_age_ms {
        return Err("stale");
    }
    let vary = vary::names(headers).ok_or("Vary: *")?;
    // Stricter than RFC 9111 §4.1: an answer for one visitor alone is of no use to a shared cache, and one entry for each
    // would fill it.
    if [header::COOKIE, header::AUTHORIZATION]
        .iter()
        .any(|name| vary.contains(name))
    {
        return Err("Vary: Cookie or Authorization");
    }
    let withheld = [directives.no_cache.fields(), directives.private.fields()].concat();
    Ok(Verdict {
        lifetime_ms,
        initial_age_ms,
        withheld,
        vary,
    })
}

fn obstacle(
    demands: &Demands,
    status: StatusCode,
    headers: &HeaderMap,
    directives: &CacheControl,
) -> Option<&'static str> {
    let understood = status.canonical_reason().is_some();
    let shareable =
        directives.public || directives.must_revalidate || directives.s_maxage.is_some();
    let rules = [
        // RFC 9111 §3: the response status code is final
        (status.as_u16() < 200, "interim status"),
        // RFC 9111 §3: 206 and 304 only by a cache that combines and freshens what it has
        (status == StatusCode::PARTIAL_CONTENT, "partial content"),
        (status == StatusCode::NOT_MODIFIED, "not modified"),
        // RFC 6585 §4: 429 must not be stored
        (status == StatusCode::TOO_MANY_REQUESTS, "too many requests"),
        // RFC 9111 §5.2.1.5: no part of this request or of any response to it
        (demands.no_store, "no-store in the request"),
        // RFC 9111 §5.2.2.3: must-understand asks for a known status, and then replaces no-store
        (directives.must_understand && !understood, "must-understand"),
        (
            directives.no_store && !directives.must_understand,
            "no-store",
        ),
        // RFC 9111 §5.2.2.7: private, unless it names the fields it means
        (directives.private.is_everything(), "private"),
        // RFC 9111 §5.2.2.4: such an answer is never used without asking the handler, so there is no use in storing it
        (directives.no_cache.is_everything(), "no-cache"),
        // RFC 9111 §3.5: only with leave to share it
        (demands.authorization && !shareable, "authorization"),
        // Stricter than RFC 9111 §7.3: a cookie is for one client, whatever the directives say
        (headers.contains_key(header::SET_COOKIE), "set-cookie"),
        // An endless stream of events.
        (is_event_stream(headers), "event stream"),
    ];
    rules
        .into_iter()
        .find_map(|(holds, why)| holds.then_some(why))
}

/// The server's own lifetime, for what is usually the same for everybody and for a while.
fn server_lifetime(status: StatusCode, ttl: Option<Duration>) -> Option<u64> {
    let covered = matches!(status.as_u16(), 200 | 203 | 204 | 301 | 308 | 404 | 410);
    let ttl = ttl.filter(|_| covered)?;
    Some(u64::try_from(ttl.as_millis()).unwrap_or(u64::MAX))
}

fn is_event_stream(headers: &HeaderMap) -> bool {
    let kind = headers.get(header::CONTENT_TYPE);
    kind.and_then(|kind| kind.as_bytes().split(|byte| *byte == b';').next())
        .is_some_and(|kind| kind.trim_ascii().eq_ignore_ascii_case(b"text/event-stream"))
}

fn pragma_no_cache(headers: &HeaderMap) -> bool {
    let mut members = headers
        .get_all(header::PRAGMA)
        .iter()
        .flat_map(|line| line.as_bytes().split(|byte| *byte == b','));
    members.any(|member| member.trim_ascii().eq_ignore_ascii_case(b"no-cache"))
}

#[cfg(test)]
mod tests;
