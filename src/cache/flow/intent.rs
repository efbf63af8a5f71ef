//! Decides what the cache does with a request, and what the answer to an unsafe request invalidates.

use http::{HeaderMap, HeaderName, Method, StatusCode, header, request::Parts};
use http_body::Body;

use crate::{
    cache::{
        rfc::{
            cache_status::Forward, groups, request_content::has_content,
            request_directives::RequestDirectives,
        },
        rules::{
            config::Config,
            key::{Target, key},
            vary_by::VaryBy,
        },
    },
    error::Error,
    log_pace::{LogPace, uptime},
    store::{Digest, Key, Tag},
};

/// What the cache does with a request.
#[derive(Debug)]
pub(crate) enum Intent<'a> {
    /// It looks for a stored answer.
    Read(Key, Target<'a>),
    /// It asks the handler, and purges these targets unless the handler reports an error.
    Write(Vec<Target<'a>>),
    /// It only asks the handler.
    Pass(Forward, Option<&'static str>),
    /// It answers with 504: the client wants only a stored answer, and the cache does not store answers to this request.
    Refuse,
}

/// Facts about a request that need its body or its mutable extensions.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RequestFacts {
    has_content: bool,
    rewritten: Option<Digest>,
}

impl RequestFacts {
    pub(crate) fn of<B: Body>(parts: &mut Parts, body: &B, config: &Config) -> Self {
        #[cfg(feature = "axum")]
        let rewritten =
            crate::cache::rules::rewritten_uri::rewritten(parts, config.vary_by.query.is_none());
        #[cfg(not(feature = "axum"))]
        let (_, rewritten) = (config, None);
        Self {
            has_content: has_content(&parts.headers, body),
            rewritten,
        }
    }
}

impl<'a> Intent<'a> {
    pub(crate) fn of(parts: &'a Parts, besides: RequestFacts, config: &Config) -> Self {
        let intent = Self::of_kind(parts, besides, config);
        // RFC 9111 §5.2.1.7. Unsafe methods always reach the handler (§4).
        let is_refused = matches!(intent, Self::Pass(..))
            && is_safe(&parts.method)
            && RequestDirectives::of(&parts.headers, config.client_directives).only_if_cached();
        if is_refused { Self::Refuse } else { intent }
    }

    fn of_kind(parts: &'a Parts, besides: RequestFacts, config: &Config) -> Self {
        match parts.method {
            Method::GET | Method::HEAD => {}
            Method::OPTIONS | Method::TRACE | Method::CONNECT => {
                return Self::Pass(Forward::Method, None);
            }
            ref method if is_safe(method) => return Self::Pass(Forward::Method, None),
            // RFC 9111 §4.4: unsafe methods, and those that the cache does not know
            _ => return Self::Write(Target::all(parts)),
        }
        if let Some((_, why)) = BYPASS
            .iter()
            .find(|(name, _)| parts.headers.contains_key(name))
        {
            return Self::Pass(Forward::Bypass, Some(why));
        }
        // RFC 9110 §9.3.1: the answer may depend on the content, which is not part of the key
        if besides.has_content {
            return Self::Pass(Forward::Bypass, Some("content"));
        }
        if !config.reads(&parts.method) {
            return Self::Pass(Forward::Method, None);
        }
        if config.bypasses(parts) {
            return Self::Pass(Forward::Bypass, Some("bypass-when"));
        }
        match key(parts, besides.rewritten.as_ref(), &config.vary_by) {
            Some((key, target)) => Self::Read(key, target),
            None => Self::Pass(Forward::Bypass, Some("host")),
        }
    }

    /// The intent without its borrow of the request, which is sent to the handler next.
    pub(crate) fn into_owned(self) -> Intent<'static> {
        match self {
            Self::Read(key, target) => Intent::Read(key, target.into_owned()),
            Self::Write(targets) => {
                Intent::Write(targets.into_iter().map(Target::into_owned).collect())
            }
            Self::Pass(why, detail) => Intent::Pass(why, detail),
            Self::Refuse => Intent::Refuse,
        }
    }
}

/// The tags that an answer to an unsafe request for `target` invalidates: those of resources (RFC 9111 §4.4) and those of
/// cache groups (RFC 9875 §3).
pub(crate) fn outdated(target: &Target<'_>, vary_by: &VaryBy, headers: &HeaderMap) -> Vec<Tag> {
    let mut tags = vec![Tag::of_group(&target.group(vary_by))];
    for name in [header::LOCATION, header::CONTENT_LOCATION] {
        let other = headers
            .get(name)
            .and_then(|reference| target.refer(reference.as_bytes()));
        tags.extend(other.map(|other| Tag::of_group(&other.group(vary_by))));
    }
    tags.extend(groups::invalidated(&target.origin(), headers));
    tags.sort_unstable();
    tags.dedup();
    tags
}

/// Whether a request with this method asks for no change (RFC 9110 §9.2.1).
fn is_safe(method: &Method) -> bool {
    method.is_safe() || SAFE.contains(&method.as_str())
}

/// Whether the answer to an unsafe request is a "non-error response" (RFC 9111 §4.4), which invalidates.
pub(crate) fn is_done(status: StatusCode) -> bool {
    status.is_success() || status.is_redirection()
}

/// Safe methods of other standards: RFC 4918 §9.1, the QUERY draft, RFC 3253 §3.6 and RFC 5323 §2.
const SAFE: [&str; 4] = ["PROPFIND", "QUERY", "REPORT", "SEARCH"];

/// Requests with these fields go to the handler. RFC 9111 §4.3.2: a cache does not evaluate the last two.
const BYPASS: [(HeaderName, &str); 3] = [
    (header::UPGRADE, "upgrade"),
    (header::IF_MATCH, "conditional"),
    (header::IF_UNMODIFIED_SINCE, "conditional"),
];

/// Logs, at most once a second, that a response that is no longer valid could not be removed.
pub(crate) fn note_outdated(error: &Error) {
    static PACE: LogPace = LogPace::new();
    if let Some(omitted) = PACE.admit(uptime()) {
        tracing::warn!(target: "tower_fred::cache", %error, omitted, "an outdated response may still be in the cache");
    }
}
