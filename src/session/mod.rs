//! Cookie sessions that lose no update and come back from no logout.
//!
//! ```no_run
//! use std::convert::Infallible;
//! use http::{Request, Response};
//! use tower::{ServiceBuilder, service_fn};
//! use tower_fred::{Error, Redis, Session, SessionLayer};
//!
//! async fn count(session: &Session) -> Result<u64, Error> {
//!     let visits = session.get::<u64>("visits").await?.unwrap_or(0) + 1;
//!     session.insert("visits", &visits)?;
//!     Ok(visits)
//! }
//!
//! # async fn example() -> Result<(), Error> {
//! let redis = Redis::connect("redis://localhost").await?;
//! let service = ServiceBuilder::new()
//!     .layer(SessionLayer::new(redis))
//!     .service(service_fn(|request: Request<String>| async move {
//!         let session = request.extensions().get::<Session>().expect("the layer above");
//!         let text = match count(session).await {
//!             Ok(visits) => format!("visit {visits}"),
//!             Err(error) => format!("no session: {error}"),
//!         };
//!         Ok::<_, Infallible>(Response::new(text))
//!     }));
//! # let _ = service;
//! # Ok(())
//! # }
//! ```
//!
//! With the feature `axum`, a handler takes `session: Session` as an argument, and [`Error`](crate::Error) is a response:
//! 503 with `Retry-After` when Redis is away.
//!
//! ```no_run
//! # #[cfg(feature = "axum")]
//! # {
//! use axum::{Router, routing::post};
//! use tower_fred::{Error, Redis, Session, SessionLayer};
//!
//! async fn login(session: Session) -> Result<&'static str, Error> {
//!     // … once the password was checked:
//!     session.login("alice")?;
//!     Ok("welcome")
//! }
//!
//! async fn logout(session: Session) -> &'static str {
//!     session.logout();
//!     "good bye"
//! }
//!
//! # async fn example() -> Result<(), Error> {
//! let redis = Redis::connect("redis://localhost").await?;
//! let app: Router = Router::new()
//!     .route("/login", post(login))
//!     .route("/logout", post(logout))
//!     .layer(SessionLayer::new(redis));
//! # Ok(())
//! # }
//! # }
//! ```
//!
//! # What it costs
//!
//! | request | round trips | `Set-Cookie` |
//! | --- | --- | --- |
//! | does not use its session, or has none | 0 | no |
//! | reads, any number of values | 1 | no |
//! | writes without reading, [`incr`](Session::incr) | 1 | no |
//! | reads and writes, [`update`](Session::update) | 2 | no |
//! | first write of a browser without session | 1 | yes |
//! | [`rotate`](Session::rotate) | as a write; with a [pepper](SessionStore::pepper) it reads first | yes |
//! | [`login`](Session::login) | 3: a read, the user's list, the session | yes |
//! | [`logout`](Session::logout) | 1, and 1 for the user's list | yes |
//!
//! Waiting for the [end](Session::ended) of a session costs no command per socket.
//!
//! Reading counts as use: at most once per 60 seconds, or tenth of the idle timeout where that is less, it is noted and
//! the record's life prolonged. The response does not wait for that. Where a user is logged in, a use that is due also asks
//! the list of that user's sessions: one round trip more, at most once per touch interval, before a read shows the session
//! and after a write.
//!
//! # When it is written
//!
//! Changes are buffered and leave together, before the response does, so that a redirect finds them written. Only the
//! values that changed are sent: requests that write different keys at once keep both. A value that depends on the one
//! before is for [`update`](Session::update) and [`incr`](Session::incr), which lose nothing either. A failed write turns the
//! response into a 503, since it would claim what did not happen.
//!
//! # Which responses count as failed
//!
//! A response of 5xx, one of 408, and an error of the service in place of a response: the handler did not finish, and its
//! buffered changes are dropped. A buffered login is one of them: no cookie is set. What the handler wrote by itself, with
//! `commit`, `update` or `incr`, stays, and a [`logout`](Session::logout) is carried out in any case.
//!
//! A timeout layer between this layer and the handler drops the handler in the middle of its work and answers by itself.
//! This layer sees only that answer. 408, 503 and 504 count as failed by default; when your timeouts, load shedding or
//! error handlers answer with another status, tell them apart by [`commit_when`](SessionLayer::commit_when). A timeout
//! layer outside of this one needs nothing: it drops both, and nothing is written.
//!
//! # Layers inside of layers
//!
//! A module may bring a router with a layer of its own into an application that has one. When both have the same cookie
//! name and the same sessions (namespace and [realm](SessionStore::realm) on the same server), the inner layer goes on
//! with the outer one's session: one session, written by the outer layer, with its settings, and one `Set-Cookie`. Other
//! settings of the inner layer are an error in the log. So is a cookie name that an outer layer has for other sessions:
//! these stay apart, and the browser keeps the cookie of only one of them, so give each a
//! [name](SessionLayer::cookie_name) of its own.
//!
//! # When the session ends meanwhile
//!
//! A request that read a session which then ended, by logout or time, or got a new token by a login elsewhere, writes
//! nothing and sends no cookie: it can neither bring the session back nor overwrite the newer cookie. Its response stays
//! as it is and the log tells; [`Session::commit`] returns the [error](crate::Error::is_interrupted). A request that
//! had only written, to a session that was already over, begins a new one with its changes, and so does a login.
//!
//! # Sockets, streams, middleware
//!
//! The [`Session`] in the request's extensions is a handle that may be cloned and kept. After the response it reads, and
//! writes with [`commit`](Session::commit), `update` and `incr`; only the cookie is out of reach. Each use prolongs the
//! session's life, noted at most once per touch interval, so a busy socket is not idle. [`Session::ended`] waits for the
//! session's end, to hang up with it; [`Session::is_alive`] asks Redis each time.
//!
//! ```no_run
//! # #[cfg(feature = "axum")]
//! # {
//! use axum::{Router, extract::ws::{WebSocket, WebSocketUpgrade}, response::{Response, Sse, sse::Event}, routing::get};
//! use futures_util::{Stream, StreamExt, stream};
//! use tower_fred::{Error, Redis, Session, SessionLayer};
//!
//! async fn chat(upgrade: WebSocketUpgrade, session: Session) -> Response {
//!     upgrade.on_upgrade(async move |mut socket: WebSocket| {
//!         loop {
//!             tokio::select! {
//!                 // Logged out, revoked or timed out: dropping the socket closes it.
//!                 () = session.ended() => return,
//!                 message = socket.recv() => {
//!                     let Some(Ok(message)) = message else { return };
//!                     // It is use of the session.
//!                     if session.incr("messages", 1).await.is_err() || socket.send(message).await.is_err() {
//!                         return;
//!                     }
//!                 }
//!             }
//!         }
//!     })
//! }
//!
//! async fn news(session: Session) -> Sse<impl Stream<Item = Result<Event, Error>>> {
//!     let news = stream::iter(["one", "two"]).map(|text| Ok(Event::default().data(text)));
//!     Sse::new(news.take_until(Box::pin(async move { session.ended().await })))
//! }
//!
//! # async fn example() -> Result<(), Error> {
//! let redis = Redis::connect("redis://localhost").await?;
//! let app: Router = Router::new()
//!     .route("/chat", get(chat))
//!     .route("/news", get(news))
//!     .layer(SessionLayer::new(redis));
//! # Ok(())
//! # }
//! # }
//! ```
//!
//! # A user's sessions
//!
//! A login lists the session under its user, with when it began and was last seen, a [label](Login::label) and
//! [metadata](Login::metadata). [`SessionStore::list`] and [`Session::devices`] show them;
//! [`revoke`](SessionStore::revoke), [`revoke_others`](Session::revoke_others) and
//! [`revoke_all`](SessionStore::revoke_all) end them, also against logins that are on their way;
//! [`evict_above`](SessionStore::evict_above) and [`refuse_above`](SessionStore::refuse_above) bound their number.
//!
//! In a cluster, a session and its user's list are on different servers. So a session is listed before it becomes the
//! user's, and what is listed and over is left out when it is met: every session of a user is listed, unless Redis evicted
//! the list.
//!
//! # Eviction
//!
//! Every key has a time to live, so every eviction policy but `noeviction` may remove sessions and lists; `connect` warns of
//! them. A session that is evicted is over. A list that is evicted is made anew by the uses of its sessions, each within a
//! touch interval. Until then [`list`](SessionStore::list) does not show a session, [`evict_above`](SessionStore::evict_above)
//! and [`refuse_above`](SessionStore::refuse_above) do not count it, and [`revoke_all`](SessionStore::revoke_all) does not
//! delete it. It ends all the same, since `revoke_all` notes when it ran: the next use that asks the list, at most a touch
//! interval later, finds that the login is older, deletes the session, and shows none. A session that nobody uses ends by
//! its idle timeout. Only when the list is evicted once more between the revocation and that use is nothing known of the
//! revocation: use `noeviction` where that matters.
//!
//! With `noeviction` and a full memory, sessions are read and prolonged, and logouts and revocations delete. Logins and
//! other writes get an [unavailable](crate::Error::is_unavailable) error.
//!
//! # What is stored
//!
//! One hash per session, with a field per key, and the SHA-256 of the token's secret, or, with a
//! [pepper](SessionStore::pepper), an HMAC of its id and secret, and one of these and the user. Nobody can make a cookie of
//! what is in Redis. A token that the server did not issue is
//! never taken over. Values are JSON of at most [`MAX_VALUE`] bytes under keys of at most [`MAX_KEY`], as `MessagePack`
//! or sealed if you say so; each tells how it was written. Redis stores a session compactly while every value is at most
//! `hash-max-listpack-value` bytes long (64 by default; 1024 suits sessions).
//!
//! # Timeouts and clocks
//!
//! Redis's clock ends sessions, dates them and guards writes. A read runs no script, so this host's clock counts there:
//! for noting use and renewing tokens, for not showing a session past its absolute end, for the minute in which a
//! replaced token is told from an unknown one, and for the age of a login. Keep the two in step within seconds.

mod callbacks;
mod cookie;
mod credential;
#[cfg(feature = "axum")]
mod extract;
mod handle;
#[cfg(feature = "tower-sessions-import")]
mod import;
mod layer;
mod marked;
mod nested_layers;
mod record;
mod service;
mod state;
mod store;
mod testing;

pub use callbacks::security_event::{SecurityEvent, Suspicion};
pub use cookie::attributes::SameSite;
pub use credential::token::Token;
pub use handle::session::Session;
pub use handle::typed::Typed;
#[cfg(feature = "tower-sessions-import")]
pub use import::tower_sessions::TowerSessions;
pub use layer::SessionLayer;
pub use marked::Marked;
pub use record::bounds::{MAX_KEY, MAX_LABEL, MAX_METADATA, MAX_USER, MAX_VALUE};
pub use record::login::Login;
pub use record::session_record::Record;
pub use service::Sessions;
pub use store::devices::Device;
pub use store::session_store::SessionStore;
