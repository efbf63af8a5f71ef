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
//! Answers to `GET` that say for how long they are fresh: `s-maxage`, `max-age` or `Expires`, in this order (RFC 9111 §4.2.1).
//! Any final status but 206, 304 and 429 will do. With [`CacheLayer::ttl`] a route also stores answers that say nothing.
//!
//! Never stored, whatever else they say: answers of a handler that used the [session](crate::Session); answers with `no-store`,
//! `private`, `no-cache`, `Set-Cookie`, or a `Vary` with `*`, `Cookie` or `Authorization`; answers to
//! requests with `no-store`, or with `Authorization` unless they say `public`, `must-revalidate` or `s-maxage` (§3.5);
//! event streams, answers with trailers, with a body over [the limit](CacheLayer::max_body), or one that breaks off, is not
//! read to its end, or has another length than stated. All fields are stored but those of the connection, those that
//! `private="…"` and `no-cache="…"` name, and those of a single exchange, such as `X-Request-Id` and `Server-Timing`.
//!
//! A body goes to the client as it comes and is copied on the way; it is stored after its last byte. An entry lives as long
//! as it is fresh, at most a day.
//!
//! # What is answered from it
//!
//! `GET` and `HEAD`, while the answer is fresh and, if it has `Vary`, for requests with the same named fields (§4.1); an
//! answer that allows one origin by `Access-Control-Allow-Origin` is kept for that origin also without `Vary`. Requests with
//! `Range`, `Upgrade`, or a condition such as `If-None-Match` go to the handler and are not stored. By default clients can ask for something
//! fresher (§5.2.1); [`CacheLayer::ignore_client_directives`] turns that off. Nothing stale is ever used.
//!
//! A successful request with any other method makes what is stored for its URL outdated, and for the `Location` and
//! `Content-Location` of its answer on the same host (§4.4). [`Purge`] does so from anywhere.
//!
//! # The key
//!
//! Host (from the URI or the `Host` field), path and query, byte for byte; the scheme is not part of it. A request whose URI
//! and `Host` disagree is left alone. Behind a router that shortens the path, such as axum's `nest`, two routes can look the same:
//! with the feature `axum` the original URI counts; otherwise put the layer outside.
//!
//! # Where to put it
//!
//! Around the session layer or inside it, as you like, and inside a layer that compresses. Request fields that change an answer must be in its `Vary`, as always with shared caches: cookies are not part of the key.
//!
//! Hits answer without the handler and everything inside this layer, and carry no extensions but [`CacheStatus`].
//!
//! # Without Redis
//!
//! The handler answers, with `cache-status: tower-fred; fwd=bypass; detail=unavailable`. The cache never makes an error; only
//! a client that asks for `only-if-cached` gets 504. A change that Redis does not hear of leaves the old answer in place for
//! its lifetime, with a warning in the log.

mod answer;
mod ask;
mod body;
mod cache_control;
mod condition;
mod config;
mod control;
mod date;
mod demands;
mod exchange;
mod fields;
mod fill;
mod freshness;
mod groups;
mod handover;
mod intent;
mod key;
mod layer;
mod lookup;
mod memory;
mod outcome;
#[cfg(feature = "axum")]
mod parts;
mod policy;
mod range;
mod read;
mod service;
mod status;
mod targeted;
mod validation;
mod vary;
mod vary_by;

pub use crate::store::Purge;
pub use body::CacheBody;
pub use control::{CacheFor, NoCache};
pub use layer::CacheLayer;
pub use service::Cache;
pub use status::{CacheStatus, Forward};
