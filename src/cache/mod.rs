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
//! The first request for a URL runs the handler; for a minute the others are answered by any process that shares the Redis
//! namespace, with one `GET`. The response says so:
//!
//! ```text
//! age: 12
//! cache-status: tower-fred; hit; ttl=48
//! ```
//!
//! # What is stored
//!
//! Answers to `GET` that say for how long they are fresh: by a [targeted field](CacheLayer::targeted), `s-maxage`, `max-age` or
//! `Expires`, in this order (RFC 9111 §4.2.1, RFC 9213); and those that may be used only after the handler confirmed them
//! (`no-cache`, `max-age=0`) if they have `ETag` or `Last-Modified`. All final statuses are stored but 206, 304, 412, 416,
//! 428, 429, 431 and 511. With [`CacheLayer::ttl`] a route also stores answers that state no lifetime, with
//! [`CacheLayer::heuristic`] those that have only `Last-Modified`. A handler controls a single answer with [`CacheFor`] and
//! [`NoCache`] in its extensions.
//!
//! Never stored, whatever else they say: answers to requests whose [session](crate::Session) was used (but see
//! [`CacheLayer::behind_guard`] for pages behind a login); answers with `no-store`,
//! `private`, `Set-Cookie`, `Clear-Site-Data`, or a `Vary` with `*`, `Cookie` or `Authorization`; answers to
//! requests with `no-store`, or with `Authorization` unless they say `public`, `must-revalidate` or `s-maxage` (§3.5);
//! event streams, answers with trailers, with a body over [the limit](CacheLayer::max_body), or one that breaks off or has
//! another length than stated. All fields are stored but those of the connection, those that
//! `private="…"` and `no-cache="…"` name, and those of a single exchange, such as `X-Request-Id` and `Server-Timing`.
//!
//! A body that may be stored is read into the cache at the pace of the handler, and the client reads from there. The frames
//! that are ready are read before the answer's head is sent; the rest goes to the client as it comes. The answer is stored
//! after its last byte. When the body turns out not to be storable, such as at the limit, it is read only when the client
//! reads. After a client has left the reading goes on, until no data comes for a second, and for a minute at most. `stored`
//! in `Cache-Status` ([`CacheStatus::is_stored`]) is set only for a body that was complete before the head was sent.
//!
//! An entry lives as long
//! as it is fresh and [a while longer](CacheLayer::keep), at most a day. Of one URL a process stores at most 32 variants.
//!
//! # What is answered from it
//!
//! `GET` and `HEAD`, while the answer is fresh and, if it has `Vary`, for requests with the same named fields (§4.1); an
//! answer that allows one origin by `Access-Control-Allow-Origin` is kept for that origin also without `Vary`, and requests
//! with a field such as `X-Forwarded-Host` or `Forwarded` get only what was made for requests with the same.
//! `If-None-Match` and `If-Modified-Since` are met
//! with 304, `Range` with the parts that it asks for (RFC 9110 §13 and §14); `If-Match`, `If-Unmodified-Since` and `Upgrade` are the
//! handler's. By default clients can ask for something fresher, or accept something stale (§5.2.1);
//! [`CacheLayer::ignore_client_directives`] turns that off.
//!
//! # What is stale
//!
//! A stale answer is validated with the handler, by `If-None-Match` and `If-Modified-Since` in place of the client's
//! conditions. A 304 updates the stored fields and makes the answer fresh again (§4.3.4), as an answer to `HEAD` that agrees
//! with it does. A 304 about another answer leads to a second request without conditions ([`CacheLayer::empty_body`]). Any
//! other answer replaces the stored one. Within `stale-while-revalidate` the stale answer is used, and one request of one
//! process asks the handler in the background. Within `stale-if-error` it is used in place of 500, 502, 503 and 504 (RFC
//! 5861). When the service returns an error, the stored answer is used for as long as it is kept. `must-revalidate`,
//! `proxy-revalidate`, `s-maxage` and `no-cache` forbid all of this (§4.2.4).
//!
//! # Many at once
//!
//! Of several requests for what is not stored, one asks the handler and the others wait for its complete answer, in all
//! processes if the handler is slow. Only what may be stored is shared. When an answer may not be, nobody waits for the same URL
//! for the next two seconds. Nobody waits for a client that reads slowly. A client that leaves before the handler has
//! answered, and a body that breaks, hand over to the next one; so does a handler, or a body, that makes no progress for a
//! second ([`wait`](crate::CacheLayer::wait)).
//!
//! # Invalidation
//!
//! A successful request with any other method makes what is stored for its URL outdated, and for the `Location` and
//! `Content-Location` of its answer on the same host (§4.4), and the groups that `Cache-Group-Invalidation` names (RFC 9875).
//! [`Purge`] does so from anywhere, by URL or by tag, and no answer that was being made meanwhile undoes it.
//!
//! # The key
//!
//! What the handler sees of the URL: scheme and authority of the request's URI if it has them, the `Host` field, path and
//! query, byte for byte but for the letter case of scheme and host. So `/a` with `Host: shop.example`, the same with
//! `Host: shop.example:80`, and `http://shop.example/a` of an HTTP/2 request have an entry each: a handler may make links of
//! any of them. Request fields such as `X-Forwarded-Host` are part of the key where a request has them, and the others'
//! entries stay as they are. A layer outside may bring requests into one form to save entries.
//!
//! Changes and purges are of all forms at once: equivalent URIs (RFC 9110 §4.2.3), with whatever fields, share a purge.
//!
//! Left alone are a `GET` or `HEAD` whose URI and `Host` disagree, or whose `Host` is none, and one with content (RFC 9110
//! §9.3.1): with `Transfer-Encoding`, with a `Content-Length` other than `0`, or with a body that neither is at its end nor
//! states a length of zero. A layer outside that replaces request bodies has to keep one of the two, or nothing behind it is
//! cached. Over HTTP/2, a request whose head does not end the stream and states no length counts as one with content.
//!
//! Behind a router that shortens the path, such as axum's `nest`, two routes can look the same: with the feature `axum` the
//! original URI counts, and besides it what another layer has made of it, such as the path of a tenant; such entries are
//! changed and purged by the original URI. Without that feature, put the layer outside of such routers.
//!
//! # Where to put it
//!
//! Around the session layer or inside it, as you like, and better inside a layer that compresses: then one entry serves
//! all encodings, where around it each encoding has one. Request fields that change an answer must be in its `Vary`, as
//! always with shared caches, or in the [policy](CacheLayer::vary_by_header): cookies are not part of the key.
//!
//! Of two caches in a row the inner one decides what is stored: an outer one for all routes and inner ones for some are a
//! policy with exceptions. Give them names, so that `Cache-Status` tells them apart.
//!
//! Hits answer without the handler and everything inside this layer, and carry no extensions but [`CacheStatus`].
//!
//! # Without Redis
//!
//! The handler answers, with `cache-status: tower-fred; fwd=bypass; detail=unavailable`. The cache never makes an error; only
//! a client that asks for `only-if-cached` gets 504, as for every `GET`, `HEAD`, `OPTIONS` and `TRACE` that the cache leaves
//! alone. If a purge does not reach Redis, the old answer stays for its lifetime, and the log has a warning.

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
