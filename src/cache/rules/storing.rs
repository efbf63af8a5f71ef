//! Decides whether an answer is stored, and for how long (RFC 9111 §3 and §4.2).

use std::time::Duration;

use http::{HeaderMap, HeaderName, StatusCode, header};

use super::{config::Policy, control::CacheFor};
use crate::{
    cache::rfc::{
        freshness::{Times, explicit_lifetime, heuristic_lifetime, initial_age_ms},
        groups,
        request_directives::RequestDirectives,
        targeted::Stated,
        vary,
    },
    store::{Digest, Life, Tag},
};

/// How to store an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Verdict {
    pub(crate) life: Life,
    /// Fields that are not stored: those that `private="…"` and `no-cache="…"` name.
    pub(crate) withheld: Vec<HeaderName>,
    /// Request fields that the answer depends on.
    pub(crate) vary: Vec<HeaderName>,
}

/// An answer of the handler, with what counts of its request.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Reply<'a> {
    pub(crate) request: &'a RequestDirectives,
    pub(crate) origin: &'a Digest,
    pub(crate) status: StatusCode,
    pub(crate) headers: &'a HeaderMap,
    pub(crate) times: Times,
    /// The handler's `CacheFor`.
    pub(crate) control: Option<&'a CacheFor>,
}

/// Why an answer is not stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// Because of this request. The stored answer stays, and the answer to another request may be stored.
    Request(&'static str),
    /// The answer is for this client only, and so are the answers to others. The stored answer stays; no request waits.
    Personal(&'static str),
    /// The answer forbids it. The stored answer is outdated.
    Response(&'static str),
}

impl Refusal {
    /// A word of the table at [`CacheStatus`](crate::cache::CacheStatus).
    pub(crate) fn why(self) -> &'static str {
        match self {
            Self::Request(why) | Self::Personal(why) | Self::Response(why) => why,
        }
    }
}

/// Decides how the answer to a `GET` is stored, or why it is not.
pub(crate) fn judge(reply: &Reply<'_>, policy: &Policy) -> Result<Verdict, Refusal> {
    let stated = Stated::of(reply.headers, &policy.targets);
    if let Some(why) = request_obstacle(reply, &stated) {
        return Err(Refusal::Request(why));
    }
    response_obstacle(reply, &stated, policy).map_or(Ok(()), |why| Err(Refusal::Response(why)))?;
    let life = life(reply, &stated, policy).map_err(Refusal::Response)?;
    // An answer must not be stored without all of its tags: a purge would not reach it.
    if life.tags.len() > MOST_TAGS {
        return Err(Refusal::Response("too-many-tags"));
    }
    let vary = vary::names(reply.headers).ok_or(Refusal::Response("vary-any"))?;
    let covered = |name: &HeaderName| policy.covers(name);
    // Stricter than RFC 9111 §4.1: each client would have an entry of its own, and these would fill the cache. With
    // `vary_by_cookie` or `vary_by_header` the key has what counts.
    for (name, why) in [
        (header::COOKIE, "vary-cookie"),
        (header::AUTHORIZATION, "vary-authorization"),
    ] {
        if vary.contains(&name) && !covered(&name) {
            return Err(Refusal::Response(why));
        }
    }
    let directives = stated.directives;
    Ok(Verdict {
        life,
        withheld: [directives.no_cache.fields(), directives.private.fields()].concat(),
        vary: vary.into_iter().filter(|name| !covered(name)).collect(),
    })
}

/// Why the request forbids that its answer is stored.
fn request_obstacle(reply: &Reply<'_>, stated: &Stated) -> Option<&'static str> {
    let directives = &stated.directives;
    let shareable =
        directives.public || directives.must_revalidate || directives.s_maxage.is_some();
    let rules = [
        // RFC 9111 §5.2.1.5: no part of this request or of any response to it
        (reply.request.no_store, "request-no-store"),
        // RFC 9111 §3.5: only if the answer permits sharing
        (reply.request.authorization && !shareable, "authorization"),
    ];
    first(&rules)
}

/// Why the response forbids that it is stored.
fn response_obstacle(reply: &Reply<'_>, stated: &Stated, policy: &Policy) -> Option<&'static str> {
    let (status, directives) = (reply.status, &stated.directives);
    let understood = status.canonical_reason().is_some();
    first(&[
        // RFC 9111 §3: the response status code is final
        (status.as_u16() < 200, "interim"),
        // RFC 9111 §3: 206 and 304 only by a cache that combines them with stored answers
        (status == StatusCode::PARTIAL_CONTENT, "partial-content"),
        (status == StatusCode::NOT_MODIFIED, "not-modified"),
        // RFC 9110 §15.5.13 and §15.5.17: about a condition or a range of this request
        (
            matches!(
                status,
                StatusCode::PRECONDITION_FAILED | StatusCode::RANGE_NOT_SATISFIABLE
            ),
            "precondition",
        ),
        // RFC 6585 §3 to §6: they must not be stored
        (
            matches!(status.as_u16(), 428 | 429 | 431 | 511),
            "client-status",
        ),
        (!policy.stores(status), "status"),
        // RFC 9111 §5.2.2.3: must-understand asks for a known status, and then replaces no-store
        (directives.must_understand && !understood, "must-understand"),
        (
            directives.no_store && !directives.must_understand,
            "no-store",
        ),
        // RFC 9111 §5.2.2.7: private, unless it names the fields it means
        (directives.private.is_everything(), "private"),
        // Stricter than RFC 9111 §7.3: a cookie is for one client, whatever the directives say
        (reply.headers.contains_key(header::SET_COOKIE), "set-cookie"),
        // It tells one client to delete its data
        (
            reply.headers.contains_key("clear-site-data"),
            "clear-site-data",
        ),
        // It has no end
        (is_event_stream(reply.headers), "event-stream"),
    ])
}

fn first(rules: &[(bool, &'static str)]) -> Option<&'static str> {
    rules.iter().find_map(|(holds, why)| holds.then_some(*why))
}

/// The deadlines of an answer that nothing forbids to store.
fn life(reply: &Reply<'_>, stated: &Stated, policy: &Policy) -> Result<Life, &'static str> {
    let directives = &stated.directives;
    // RFC 9111 §5.2.2.4: not used before the handler has confirmed it
    let always_ask = directives.no_cache.is_everything();
    let lifetime_ms = if always_ask {
        0
    } else {
        lifetime_ms(reply, stated, policy).ok_or("no-lifetime")?
    };
    let millis = |duration: Option<Duration>| duration.map_or(0, whole_millis);
    let seconds = |stated: Option<u32>, policy| {
        stated.map_or_else(|| millis(policy), |seconds| u64::from(seconds) * 1000)
    };
    let control = reply.control;
    let may_be_stale = !directives.forbids_stale();
    let grace = |said: Option<Duration>, stated, policy| match said {
        _ if !may_be_stale => 0,
        Some(said) => whole_millis(said),
        None => seconds(stated, policy),
    };
    let life = Life {
        born_ms: reply.times.received_ms,
        lifetime_ms,
        initial_age_ms: initial_age_ms(reply.headers, reply.times),
        swr_ms: grace(
            control.and_then(CacheFor::swr),
            directives.stale_while_revalidate,
            policy.stale_while_revalidate,
        ),
        sie_ms: grace(
            control.and_then(CacheFor::sie),
            directives.stale_if_error,
            policy.stale_if_error,
        ),
        keep_ms: whole_millis(policy.keep(has_validator(reply.headers))),
        tags: tags(reply),
        is_told: control.is_some(),
        cost_ms: reply.times.received_ms.saturating_sub(reply.times.sent_ms),
        ..Life::default()
    };
    let is_of_use = life.initial_age_ms < lifetime_ms
        || has_validator(reply.headers)
        || life.swr_ms.max(life.sie_ms) > 0;
    if is_of_use { Ok(life) } else { Err("expired") }
}

/// The tags by which a purge finds the answer.
fn tags(reply: &Reply<'_>) -> Vec<Tag> {
    let names = reply.control.map_or(&[][..], CacheFor::names);
    let mut tags = groups::members(reply.origin, reply.headers);
    tags.extend(names.iter().map(|name| Tag::named(name)));
    tags
}

/// The freshness lifetime, counted from an age of zero; `None` if neither the answer nor the layer states one.
fn lifetime_ms(reply: &Reply<'_>, stated: &Stated, policy: &Policy) -> Option<u64> {
    if let Some(said) = reply.control {
        // It counts from now, whatever the `Age` and `Date` of the answer are.
        let age_ms = initial_age_ms(reply.headers, reply.times);
        return Some(whole_millis(said.ttl()).saturating_add(age_ms));
    }
    let explicit = explicit_lifetime(reply.headers, stated, reply.times);
    explicit
        .map(|seconds| seconds.saturating_mul(1000))
        .or_else(|| policy.ttl(reply.status).map(whole_millis))
        .or_else(|| {
            // RFC 9111 §4.2.2: the status is heuristically cacheable, or the answer is `public`
            let allowed = is_heuristic(reply.status) || stated.directives.public;
            let longest = policy.heuristic.filter(|_| allowed)?;
            let seconds = heuristic_lifetime(reply.headers, reply.times)?;
            Some(seconds.saturating_mul(1000).min(whole_millis(longest)))
        })
}

/// RFC 9110 §15.1: the statuses that are heuristically cacheable. (206 is one too; this cache does not store it.)
fn is_heuristic(status: StatusCode) -> bool {
    matches!(
        status.as_u16(),
        200 | 203 | 204 | 300 | 301 | 308 | 404 | 405 | 410 | 414 | 501
    )
}

/// Whether the answer can be validated (RFC 9111 §4.3.1).
fn has_validator(headers: &HeaderMap) -> bool {
    headers.contains_key(header::ETAG) || headers.contains_key(header::LAST_MODIFIED)
}

fn is_event_stream(headers: &HeaderMap) -> bool {
    let kind = headers.get(header::CONTENT_TYPE);
    kind.and_then(|kind| kind.as_bytes().split(|byte| *byte == b';').next())
        .is_some_and(|kind| kind.trim_ascii().eq_ignore_ascii_case(b"text/event-stream"))
}

fn whole_millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// Each hit checks all tags of an answer against the purges.
pub(crate) const MOST_TAGS: usize = 128;

#[cfg(test)]
mod tests;
