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
//! A [`Quota`] is a rate and a burst, kept by an [`Algorithm`]; a [`Policy`] has a name besides.
//!
//! | algorithm | the worst window admits | what is stored for a subject |
//! | --- | --- | --- |
//! | [`Gcra`](Algorithm::Gcra), the default | the quota and a burst | a time, with a name also the quota, until the burst is there again |
//! | [`SlidingLog`](Algorithm::SlidingLog) | the quota | each admitted request of the last window, up to 10,000 |
//! | [`SlidingWindow`](Algorithm::SlidingWindow) | the quota; a busy subject gets about 1 % less | a value of 268 bytes, for a window |
//! | [`CalendarWindow`](Algorithm::CalendarWindow) | twice the quota, across a boundary | a number, until the window ends |
//! | [`Policy::concurrency`] | so many at the same time | each request that is being served |
//!
//! More exactly: with GCRA, in any time `t` a subject is admitted at most `burst + rate × t` times, whichever processes
//! its requests reach. A denied request costs nothing, so a client that keeps trying is let in as soon as one that waits.
//! Every decision is made by one script inside Redis, and every key is gone when there is nothing left to count.
//!
//! The clock is that of Redis. When it is set back, nobody waits longer than a full burst or a window takes. What happens
//! when a quota gets other numbers: [`Policy`].
//!
//! # Several policies
//!
//! A subject may be held to several policies, and a request may have several subjects. It is counted by all or by none,
//! with one command:
//!
//! ```
//! use tower_fred::{RateLimitLayer, Redis, rate_limit::{Algorithm, BearerToken, Policy, Quota}};
//!
//! fn limit(redis: Redis) -> RateLimitLayer {
//!     let daily = Policy::new("daily", Quota::per_day(50_000)).algorithm(Algorithm::CalendarWindow);
//!     RateLimitLayer::new(redis, Policy::new("burst", Quota::per_second(10).burst(20)))
//!         .policy(daily)
//!         .and_by(BearerToken, [
//!             Policy::new("account", Quota::per_hour(5_000)),
//!             Policy::concurrency("at-once", 8),
//!         ])
//! }
//! ```
//!
//! What is counted belongs to a subject and the name of a policy. So layers of several routes share a policy by giving it
//! the same name and the same key, and each has its own by another name. A quota without a name has a budget that belongs
//! to its numbers.
//!
//! In a cluster, policies of one subject are on one server. Several subjects are asked at once with a command each, and a
//! denial by one is followed by a refund to the others.
//!
//! # What clients see
//!
//! Every response carries `RateLimit-Policy` and `RateLimit` (draft-ietf-httpapi-ratelimit-headers-11, whose parameters
//! may still change), in one line with those of other limits; a 429 also `Retry-After` (RFC 9110 §10.2.3):
//!
//! ```text
//! RateLimit-Policy: "search";q=5;w=1, "daily";q=50000;w=86400
//! RateLimit: "search";r=0;t=1, "daily";r=4711;t=8141
//! Retry-After: 1
//! ```
//!
//! `q` permits come back per `w` seconds (left out when that is not a whole number) and `r` can be used at once; a
//! client that spreads them over `t` seconds keeps to the rate. With a burst above `q`, `r` may be above it too. Browsers
//! show these fields to scripts of other origins only with `Access-Control-Expose-Headers`.
//!
//! The body of a 429 is a problem (RFC 9457) of the type `quota-exceeded` when the client's `Accept` takes one or is not
//! there, else a line of text. A request that costs more than a limit is answered with 400, since it [never
//! passes](RateLimitLayer::permanent_denial_status). A client that is still sending its request sees the answer too: the
//! rest is [read first, within bounds](RateLimitLayer::drain_denied). [`headers`](RateLimitLayer::headers) adds or leaves
//! out header fields, [`rejection`](RateLimitLayer::rejection) makes another response.
//!
//! The [`Decision`] is in the extensions of the response, and of the request as the service sees it.
//!
//! # What a process knows by itself
//!
//! A denial is repeated without Redis until its time is over, or for a minute, or for a second where permits
//! [come back](RateLimiter::no_denial_memory): a flood of denied requests does not reach Redis. With [`local_batch`](RateLimitLayer::local_batch) permits are taken in advance, which has bounds of its own.
//!
//! # When Redis fails
//!
//! After the [deadline](crate::redis::RedisBuilder::deadline) of the handle, the layer decides by itself:
//! [`fail_local`](RateLimitLayer::fail_local) (default), [`fail_open`](RateLimitLayer::fail_open) or
//! [`fail_closed`](RateLimitLayer::fail_closed). It never makes an error of the wrapped service. Denials that are known
//! hold.
//!
//! A request that timed out may have been counted, but never twice. Where Redis loses its data, or evicts keys under
//! memory pressure, the quotas start afresh.
//!
//! # Who is limited
//!
//! [`PeerIp`] by default, which needs the peer's address in the request's extensions; with [`by`](RateLimitLayer::by)
//! anything else: behind proxies [`ForwardedIp`], for accounts [`BearerToken`] or `SessionUser`, with tuples several
//! together. A request without a key shares one budget with all others without, unless
//! [`missing_key_allow`](RateLimitLayer::missing_key_allow) or [`missing_key_deny`](RateLimitLayer::missing_key_deny)
//! says otherwise for that key. A key that [cannot be looked up](Search::fallible) is a failure, and not a missing key.
//!
//! # Upgraded connections
//!
//! The response that upgrades a connection ends at once, and with it the request's place under a
//! [concurrency](Policy::concurrency) policy. A handler keeps the place for as long as the connection is in use with a
//! [`PlaceGuard`] from [`Places`].

// From the top down: a room imports only rooms that come after it.
mod layer;
mod limiter;
mod service;

mod verdict;

mod engine;

mod script;

mod decision;

mod quota;

mod subject;

pub use decision::decision::{Admission, Decision, Denial};
pub use decision::headers::Dialect;
pub use decision::place_body::Held;
pub use decision::places::{PlaceGuard, Places};
pub use decision::standing::Standing;
pub use layer::RateLimitLayer;
pub use limiter::RateLimiter;
pub use quota::policies::Policies;
pub use quota::policy::{Algorithm, Policy};
pub use quota::quota::Quota;
pub use service::RateLimit;
pub use subject::async_key::AsyncKey;
pub use subject::forwarded_ip::ForwardedIp;
pub use subject::identity::Identity;
pub use subject::key::Key;
pub use subject::peer_ip::{PeerAddr, PeerIp, PeerNetwork};
#[cfg(feature = "axum")]
pub use subject::request_keys::MatchedPath;
pub use subject::request_keys::{BearerToken, Header, Method};
pub use subject::search::Search;
