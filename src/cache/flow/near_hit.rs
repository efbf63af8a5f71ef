//! Hits from the memory of this process (the near tier), which need no `await`.

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
            request_directives::{Choice, RequestDirectives},
        },
        state::{lookup::slot, shared::Shared},
    },
    store::{Entry, State, unix_millis},
};

/// Answers a request from memory, if a fresh answer is there that the client's directives allow. All other requests are
/// looked up in Redis.
pub(crate) fn near_hit<B>(
    intent: &Intent<'_>,
    parts: &Parts,
    shared: &Shared,
) -> Option<(Response<CacheBody<B>>, CacheStatus)> {
    let Intent::Read(key, _) = intent else {
        return None;
    };
    let (store, now_ms) = (&shared.store, unix_millis());
    let mut kept = store.peek(&store.remote().primary(key), now_ms)?;
    if let Entry::Variants(variants) = kept.entry() {
        kept = store.peek(&slot(shared, key, &parts.headers, variants), now_ms)?;
    }
    let Entry::Response(stored) = kept.entry() else {
        return None;
    };
    let life = &stored.head.life;
    let directives = RequestDirectives::of(&parts.headers, shared.config.client_directives);
    if directives.choose(life, State::Fresh, now_ms, || true) != Choice::Use {
        return None;
    }
    let asked = Asked {
        is_head: parts.method == Method::HEAD,
        headers: &parts.headers,
    };
    let status = CacheStatus::hit(life, now_ms);
    Some((from_stored(stored, asked, now_ms), status))
}
