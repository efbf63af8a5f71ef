//! What the cache has to do with a request, and with the answer to one that changes something.

use http::{HeaderMap, HeaderName, Method, StatusCode, header, request::Parts};
use http_body::Body;

use super::{
    config::Config,
    content::has_content,
    demands::Demands,
    groups,
    key::{Target, key},
    status::Forward,
    vary_by::VaryBy,
};
use crate::{
    error::Error,
    log_pace::{LogPace, uptime},
    store::{Digest, Key, Tag},
};

/// What the cache is to do with a request.
#[derive(Debug)]
pub(crate) enum Intent<'a> {
    /// Look for a stored answer.
    Read(Key, Target<'a>),
    /// Forget what is stored if the handler does not report a failure.
    Write(Vec<Target<'a>>),
    /// Nothing.
    Pass(Forward, Option<&'static str>),
    /// Nothing, and no handler either: the client wants what is stored, and such answers are not.
    Refuse,
}

/// What the head of a request does not tell by itself.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Besides {
    has_content: bool,
    rewritten: Option<Digest>,
}

impl Besides {
    pub(crate) fn of<B: Body>(parts: &mut Parts, body: &B, config: &Config) -> Self {
        #[cfg(feature = "axum")]
        let rewritten = super::rewrite::rewritten(parts, config.vary_by.query.is_none());
        #[cfg(not(feature = "axum"))]
        let (_, rewritten) = (config, None);
        Self {
            has_content: has_content(&parts.headers, body),
            rewritten,
        }
    }
}

impl<'a> Intent<'a> {
    pub(crate) fn of(parts: &'a Parts, besides: Besides, config: &Config) -> Self {
        let intent = Self::of_kind(parts, besides, config);
        // RFC 9111 §5.2.1.7, and §4 for unsafe methods, which are always written through
        let is_refused = matches!(intent, Self::Pass(..))
            && parts.method.is_safe()
            && Demands::of(&parts.headers, config.client_directives).only_if_cached();
        if is_refused { Self::Refuse } else { intent }
    }

    fn of_kind(parts: &'a Parts, besides: Besides, config: &Config) -> Self {
        match parts.method {
            Method::GET | Method::HEAD => {}
            Method::OPTIONS | Method::TRACE | Method::CONNECT => {
                return Self::Pass(Forward::Method, None);
            }
            // RFC 9111 §4.4: unsafe methods, and those that the cache does not know
            _ => return Self::Write(Target::all(parts)),
        }
        if let Some((_, why)) = BYPASS
            .iter()
            .find(|(name, _)| parts.headers.contains_key(name))
        {
            return Self::Pass(Forward::Bypass, Some(why));
        }
        // RFC 9110 §9.3.1: what a handler makes of content is in no key
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

    /// The same when the request it is for goes on.
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

/// What an answer to an unsafe request for `target` makes outdated: resources (RFC 9111 §4.4), and cache groups (RFC 9875
/// §3).
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

/// Whether a request changed something: RFC 9111 §4.4 calls it a non-error response.
pub(crate) fn is_done(status: StatusCode) -> bool {
    status.is_success() || status.is_redirection()
}

/// Requests that only the handler can answer. RFC 9111 §4.3.2: the last two conditions are not for caches to evaluate.
const BYPASS: [(HeaderName, &str); 3] = [
    (header::UPGRADE, "upgrade"),
    (header::IF_MATCH, "conditional"),
    (header::IF_UNMODIFIED_SINCE, "conditional"),
];
/// Logs that what is out of date could not be taken out, as of every such request while Redis refuses it.
pub(crate) fn note_outdated(error: &Error) {
    static PACE: LogPace = LogPace::new();
    if let Some(omitted) = PACE.admit(uptime()) {
        tracing::warn!(target: "tower_fred::cache", %error, omitted, "an outdated response may still be in the cache");
    }
}
