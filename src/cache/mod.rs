//! A shared response cache (RFC 9111) in front of a service, in Redis.
//!
//! ```no_run
//! use axum::{Router, routing::get};
//! use tower_fred::{CacheLayer, Redis};
//!
//! # async fn example() -> Result<(), tower_fred::Error> {
//! let redis = Redis::connect("redis://localhost").await?;
//! let app: Router = Router::new()
//!     .route("/products", get(|| async { ([("cache-control", "max-age=60")], "…") }))
//!     .layer(CacheLayer::new(redis));
//! # Ok(())
//! # }
//! ```
//!
//! The first request for a URL runs the handler. For the next minute any process that shares the Redis namespace
//! answers the others with one `GET` to Redis. The response shows it:
//!
//! ```text
//! age: 12
//! cache-status: tower-fred; hit; ttl=48
//! ```
//!
//! # What is stored
//!
//! The cache stores answers to `GET` that state their lifetime: by a [targeted field](CacheLayer::targeted),
//! `s-maxage`, `max-age` or `Expires`, in this order (RFC 9111 §4.2.1, RFC 9213). It also stores answers that must be
//! validated before each use (`no-cache`, `max-age=0`) if they have `ETag` or `Last-Modified`. All final statuses are
//! stored except 206, 304, 412, 416, 428, 429, 431 and 511. With [`CacheLayer::ttl`] a route also stores answers that
//! state no lifetime, with [`CacheLayer::heuristic`] those that have only `Last-Modified`. A handler controls a single
//! answer with [`CacheFor`] and [`NoCache`] in its extensions.
//!
//! Never stored, whatever else they say: answers to requests whose [session](crate::Session) was used (but see
//! [`CacheLayer::behind_guard`] for pages behind a login); answers with `no-store`, `private`, `Set-Cookie`,
//! `Clear-Site-Data`, or a `Vary` with `*`, `Cookie` or `Authorization`; answers to requests with `no-store`, or with
//! `Authorization` unless they say `public`, `must-revalidate` or `s-maxage` (§3.5); event streams; answers with
//! trailers; answers whose body is over [the limit](CacheLayer::max_body), breaks off or has another length than
//! stated. All fields are stored except those of the connection, those that `private="…"` and `no-cache="…"` name, and
//! those of a single exchange, such as `X-Request-Id` and `Server-Timing`.
//!
//! A body that may be stored is read into the cache at the pace of the handler, and the client reads from there. The
//! frames that are ready are read before the answer's head is sent; the rest goes to the client as it comes. The answer
//! is stored after its last byte. When a body turns out not to be storable, such as at the limit, it is read only when
//! the client reads. When a client leaves, reading goes on until no data comes for a second, and for a minute at most.
//! `stored` in `Cache-Status` ([`CacheStatus::is_stored`]) is set only if the body was complete before the head was
//! sent.
//!
//! An entry is kept as long as it is fresh and [a while longer](CacheLayer::keep), at most a day. A process stores at
//! most 32 variants of one URL.
//!
//! # What is answered from it
//!
//! `GET` and `HEAD`, while the answer is fresh. If it has `Vary`, the request must have the same named fields (§4.1).
//! An answer that allows one origin by `Access-Control-Allow-Origin` is used only for that origin, also without `Vary`.
//! Requests with a field such as `X-Forwarded-Host` or `Forwarded` get only what was made for requests with the same.
//! The cache answers `If-None-Match` and `If-Modified-Since` with 304, and `Range` with the requested parts (RFC 9110
//! §13 and §14); it leaves `If-Match`, `If-Unmodified-Since` and `Upgrade` to the handler. By default clients can ask
//! for a fresher answer, or accept a stale one (§5.2.1); [`CacheLayer::ignore_client_directives`] turns that off.
//!
//! # What is stale
//!
//! The cache validates a stale answer with the handler: it sends `If-None-Match` and `If-Modified-Since` in place of
//! the client's conditions. A 304 updates the stored fields and makes the answer fresh again (§4.3.4); so does a
//! matching answer to `HEAD`. A 304 about another answer leads to a second request without conditions
//! ([`CacheLayer::empty_body`]). Any other answer replaces the stored one. Within `stale-while-revalidate` the stale
//! answer is used, and one request of one process asks the handler in the background. Within `stale-if-error` it is
//! used in place of 500, 502, 503 and 504 (RFC 5861). When the service returns an error, the stored answer is used for
//! as long as it is kept. `must-revalidate`, `proxy-revalidate`, `s-maxage` and `no-cache` forbid all of this (§4.2.4).
//!
//! # Many at once
//!
//! When several requests miss the same entry, one asks the handler and the others wait for its complete answer, in all
//! processes if the handler is slow. Only what may be stored is shared. If an answer may not be stored, no request
//! waits for its URL for the next two seconds. No request waits for a client that reads slowly. Another request asks
//! the handler when the client leaves before the answer, when the body breaks off, or when handler or body make no
//! progress for a second ([`wait`](crate::CacheLayer::wait)).
//!
//! # Invalidation
//!
//! A successful request with any other method invalidates what is stored for its URL, for the `Location` and
//! `Content-Location` of its answer on the same host (§4.4), and for the groups that `Cache-Group-Invalidation` names
//! (RFC 9875). [`Purge`] does so from anywhere, by URL or by tag. An answer that was being made meanwhile does not undo
//! it.
//!
//! # The key
//!
//! The key is what the handler sees of the URL: scheme and authority of the request's URI if it has them, the `Host`
//! field, path and query. All are compared byte for byte, except the letter case of scheme and host. So `/a` with
//! `Host: shop.example`, the same with `Host: shop.example:80`, and `http://shop.example/a` of an HTTP/2 request have
//! separate entries, as a handler may build links from any of them. Request fields such as `X-Forwarded-Host` are part
//! of the key only for requests that have them. A layer outside may normalize requests to save entries.
//!
//! Invalidation covers all forms: equivalent URIs (RFC 9110 §4.2.3), with any such fields, share a purge.
//!
//! The cache does not handle a `GET` or `HEAD` whose URI and `Host` disagree, or whose `Host` is not valid, or one with
//! content (RFC 9110 §9.3.1): with `Transfer-Encoding`, with a `Content-Length` other than `0`, or with a body that
//! neither is at its end nor states a length of zero. A layer outside that replaces request bodies must keep one of the
//! two, or nothing inside it is cached. Over HTTP/2, a request whose head does not end the stream and states no length
//! counts as one with content.
//!
//! Inside a router that shortens the path, such as axum's `nest`, two routes can look the same. With the feature `axum`
//! the key has the original URI, and also the URI that another layer made of it, such as the path of a tenant; such
//! entries are invalidated by the original URI. Without that feature, put the layer outside of such routers.
//!
//! # Where to put it
//!
//! The layer may be outside or inside the session layer. Put it inside a layer that compresses: then one entry is used
//! for all encodings; outside, each encoding has its own. Request fields that change an answer must be in its `Vary`,
//! as always with shared caches, or in the [policy](CacheLayer::vary_by_header): cookies are not part of the key.
//!
//! With two caches in a row the inner one decides what is stored: use an outer one for all routes and inner ones for
//! exceptions. Give them names, so that `Cache-Status` tells them apart.
//!
//! A hit runs neither the handler nor any layer inside this one, and has no extensions but [`CacheStatus`].
//!
//! # Without Redis
//!
//! The handler answers, with `cache-status: tower-fred; fwd=bypass; detail=unavailable`. The cache makes no error of
//! its own, except 504 for a client that asks for `only-if-cached`, as for every request with a safe method
//! that the cache does not handle. If a purge does not reach Redis, the old answer stays for its lifetime, and a
//! warning is logged.

mod layer;
mod service;

mod flow;

mod fill;

mod state;

mod rules;

mod conditional;

mod rfc;

pub use crate::store::Purge;
pub use fill::body::CacheBody;
pub use layer::CacheLayer;
pub use rfc::cache_status::{CacheStatus, Forward};
pub use rules::control::{CacheFor, NoCache};
pub use service::Cache;
