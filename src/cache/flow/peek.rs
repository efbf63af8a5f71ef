//! Hits that wait for nothing: what this process has, and knows to hold.

use http::{Method, Response, request::Parts};

use super::{
    answer::{Asked, from_stored},
    intent::Intent,
};
use crate::{
    cache::{
        fill::body::CacheBody,
        rfc::{
            cache_status::CacheStatus,
            request_directives::{Choice, Demands},
        },
        state::{lookup::slot, shared::Shared},
    },
    store::{Entry, State, unix_millis},
};

/// The answer to a request, if it is here, fresh, and what the client wants. Everything else is looked up.
pub(crate) fn peek<B>(
    intent: &Intent<'_>,
    parts: &Parts,
    shared: &Shared,
) -> Option<(Response<CacheBody<B>>, CacheStatus)> {
    let Intent::Read(key, _) = intent else {
        return None;
    };
    let (store, now_ms) = (&shared.store, unix_millis());
    let mut entry = store.peek(&store.remote().primary(key), now_ms)?;
    if let Entry::Variants(variants) = &*entry {
        entry = store.peek(&slot(shared, key, &parts.headers, variants), now_ms)?;
    }
    let Entry::Response(stored) = &*entry else {
        return None;
    };
    let life = &stored.head.life;
    let demands = Demands::of(&parts.headers, shared.config.client_directives);
    if demands.choose(life, State::Fresh, now_ms, || true) != Choice::Use {
        return None;
    }
    let asked = Asked {
        is_head: parts.method == Method::HEAD,
        headers: &parts.headers,
    };
    let status = CacheStatus::hit(life, now_ms);
    Some((from_stored(stored, asked, now_ms), status))
}
