//! Limits per client that hold across all processes.
//!
//! ```no_run
//! use std::net::SocketAddr;
//! use axum::{Router, routing::get};
//! use http::request::Parts;
//! use tower_fred::{RateLimitLayer, Redis, rate_limit::Quota};
//!
//! #[derive(Clone)]
//! struct User(u64);
//!
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let redis = Redis::connect("redis://localhost").await?;
//!
//! // 5 searches a second for each user, 20 at once after a pause.
//! let searches = RateLimitLayer::new(redis.clone(), Quota::per_second(5).burst(20))
//!     .name("search")
//!     .by(|request: &Parts| request.extensions.get::<User>().map(|User(id)| *id))
//!     .missing_key_deny();
//!
//! // And 600 requests a minute for each peer address, whatever they ask for.
//! let app = Router::new()
//!     .route("/search", get(async || "found").layer(searches))
//!     .route("/", get(async || "hello"))
//!     .layer(RateLimitLayer::new(redis, Quota::per_minute(600)));
//!
//! let listener = tokio::net::TcpListener::bind("localhost:3000").await?;
//! axum::serve(listener, app.into_make_service_with_connect_info::<SocketAddr>()).await?;
//! # Ok(())
//! # }
//! ```
//!
//! A request over the limit is answered with 429 and never reaches the service. Outside HTTP, ask a [`RateLimiter`].
//!
//! # What a quota promises
//!
//! A [`Quota`] is a rate and a burst, kept by the generic cell rate algorithm (GCRA): in any time `t` a subject is
//! admitted at most `burst + rate × t` times, whichever processes its requests reach. A denied request costs nothing,
//! so a client that keeps trying is let in as soon as one that waits. What is stored is one number per subject, gone
//! when the subject has been idle for long enough to have its full burst again.
//!
//! The clock is that of Redis. When it is set back, or a quota becomes smaller, nobody waits longer than a full burst
//! takes to come back.
//!
//! # What clients see
//!
//! Every response carries `RateLimit-Policy` and `RateLimit` (draft-ietf-httpapi-ratelimit-headers-11, whose parameters
//! may still change), added to those of other limits; a 429 also `Retry-After` (RFC 9110 §10.2.3):
//!
//! ```text
//! RateLimit-Policy: "search";q=5;w=1
//! RateLimit: "search";r=0;t=1
//! Retry-After: 1
//! ```
//!
//! `q` permits come back per `w` seconds (left out when that is not a whole number) and `r` can be used at once; a
//! client that spreads them over `t` seconds keeps to the rate. With a burst above `q`, `r` may be above it too. Browsers
//! show these fields to scripts of other origins only with `Access-Control-Expose-Headers`.
//!
//! The [`Decision`] is in the extensions of the response, and of the request as the service sees it.
//!
//! # When Redis fails
//!
//! After the [deadline](crate::redis::RedisBuilder::deadline) of the handle, the layer decides by itself:
//! [`fail_local`](RateLimitLayer::fail_local) (default), [`fail_open`](RateLimitLayer::fail_open) or
//! [`fail_closed`](RateLimitLayer::fail_closed). It never makes an error of the wrapped service.
//!
//! A request that timed out may have been counted, but never twice. Where Redis loses its data, or evicts keys under
//! memory pressure, the quotas start afresh.
//!
//! # Who is limited
//!
//! [`PeerIp`] by default, which needs the peer's address in the request's extensions; with [`by`](RateLimitLayer::by)
//! anything else. A request without a key shares one budget with all others without, unless
//! [`missing_key_allow`](RateLimitLayer::missing_key_allow) or [`missing_key_deny`](RateLimitLayer::missing_key_deny)
//! says otherwise.

mod apart;
mod batch;
mod call;
mod config;
mod decision;
mod denials;
mod engine;
mod fields;
mod forwarded;
mod gcra;
mod headers;
mod held;
mod hops;
mod identity;
mod ip;
mod key;
mod layer;
mod lease;
mod limiter;
mod local;
mod policies;
mod policy;
mod problem;
mod quota;
mod recent;
mod service;
mod standing;
mod tiers;
mod verdict;

pub use decision::{Admission, Decision, Denial};
pub use forwarded::ForwardedIp;
pub use headers::Dialect;
pub use held::Held;
pub use identity::Identity;
pub use ip::{PeerAddr, PeerIp, PeerNetwork};
#[cfg(feature = "axum")]
pub use key::MatchedPath;
pub use key::{AsyncKey, BearerToken, Header, Key, Method, Search};
pub use layer::RateLimitLayer;
pub use limiter::RateLimiter;
pub use policies::Policies;
pub use policy::{Algorithm, Policy};
pub use quota::Quota;
pub use service::RateLimit;
pub use standing::Standing;
