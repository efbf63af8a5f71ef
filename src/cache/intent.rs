//! What the cache has to do with a request, and with the answer to one that changes something.

use http::{HeaderMap, HeaderName, Method, StatusCode, header, request::Parts};

use super::{
    config::Config,
    key::{Key, Target},
    status::Forward,
    vary_by::VaryBy,
};
use crate::store::Digest;

/// What the cache is to do with a request.
#[derive(Debug)]
pub(crate) enum Intent<'a> {
    /// Look for a stored answer.
    Read(Key, Target<'a>),
    /// Forget what is stored if the handler does not report a failure.
    Write(Target<'a>),
    /// Nothing.
    Pass(Forward, Option<&'static str>),
}

impl<'a> Intent<'a> {
    pub(crate) fn of(parts: &'a Parts, config: &Config) -> Self {
        let reads = matches!(parts.method, Method::GET | Method::HEAD);
        if !reads
            && matches!(
                parts.method,
                Method::OPTIONS | Method::TRACE | Method::CONNECT
            )
        {
            return Self::Pass(Forward::Method, None);
        }
        let Some(target) = Target::of(parts) else {
            return Self::Pass(Forward::Bypass, Some("host"));
        };
        if !reads {
            // RFC 9111 §4.4: unsafe methods, and those that the cache does not know
            return Self::Write(target);
        }
        if let Some((_, why)) = BYPASS
            .iter()
            .find(|(name, _)| parts.headers.contains_key(name))
        {
            return Self::Pass(Forward::Bypass, Some(why));
        }
        // RFC 9110 §9.3.1: what a handler makes of content is in no key
        if has_content(&parts.headers) {
            return Self::Pass(Forward::Bypass, Some("content"));
        }
        if !config.reads(&parts.method) {
            return Self::Pass(Forward::Method, None);
        }
        if config.bypasses(parts) {
            return Self::Pass(Forward::Bypass, Some("bypass-when"));
        }
        Self::Read(target.key(&config.vary_by, parts), target)
    }

    /// The same when the request it is for goes on.
    pub(crate) fn into_owned(self) -> Intent<'static> {
        match self {
            Self::Read(key, target) => Intent::Read(key, target.into_owned()),
            Self::Write(target) => Intent::Write(target.into_owned()),
            Self::Pass(why, detail) => Intent::Pass(why, detail),
        }
    }
}

/// The resources that an answer to a request for `target` makes outdated (RFC 9111 §4.4).
pub(crate) fn outdated(target: &Target<'_>, vary_by: &VaryBy, headers: &HeaderMap) -> Vec<Digest> {
    let mut resources = vec![target.resource(vary_by)];
    for name in [header::LOCATION, header::CONTENT_LOCATION] {
        let other = headers
            .get(name)
            .and_then(|reference| target.refer(reference.as_bytes()));
        resources.extend(other.map(|other| other.resource(vary_by)));
    }
    resources.dedup();
    resources
}

fn has_content(headers: &HeaderMap) -> bool {
    let length = headers.get(header::CONTENT_LENGTH);
    length.is_some_and(|length| length != "0") || headers.contains_key(header::TRANSFER_ENCODING)
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
