//! Cookie sessions in Redis. Requests at the same time lose no update, and none of them undoes a logout.
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
//! A read counts as use of the session. The layer notes a use in Redis, which starts the idle timeout again, at most
//! once per touch interval: 60 seconds, or a tenth of the idle timeout if that is less. The response does not wait for
//! it. When a user is logged in, the layer also checks the list of that user's sessions, at most once per touch
//! interval: one more round trip, before a read returns the session, or after a write.
//!
//! # When it is written
//!
//! Changes are buffered and written together before the response leaves, so the request after a redirect finds them.
//! Only values that changed are sent: when two requests write different keys at the same time, both values are kept. For
//! a new value that depends on the old one, use [`update`](Session::update) or [`incr`](Session::incr): they lose no
//! change either. When the write fails, the layer answers 503 in place of the handler's response, which would report a
//! success.
//!
//! # Which responses count as failed
//!
//! A response of 5xx, a response of 408, and an error that the service returns instead of a response. The layer then
//! assumes that the handler did not finish, and drops its buffered changes. A buffered login is dropped too: no cookie
//! is set. What the handler wrote itself with `commit`, `update` or `incr` stays. A [`logout`](Session::logout) is
//! carried out in any case.
//!
//! A timeout layer between this layer and the handler drops the handler before it has finished, and answers itself.
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
//! the sessions stay separate, but the browser keeps the cookie of only one of them. Give each layer a
//! [cookie name](SessionLayer::cookie_name) of its own.
//!
//! # When the session ends during a request
//!
//! A session may end, by a logout or a timeout, or get a new token, by a login in another request, after this request
//! read it. This request then writes nothing and sends no cookie: it neither restores the session nor overwrites the
//! newer cookie. Its response stays as it is, and the log has a warning; [`Session::commit`] returns the
//! [error](crate::Error::is_interrupted). A request that only wrote, and whose session had already ended, begins a new
//! session with its changes. So does a login.
//!
//! # Sockets, streams, middleware
//!
//! The [`Session`] in the request's extensions is a handle that you can clone and keep. After the response has left, it
//! still reads, and writes with [`commit`](Session::commit), `update` and `incr`; only the cookie can no longer change.
//! Each use starts the idle timeout again (written at most once per touch interval), so a session with a busy socket does
//! not become idle. [`Session::ended`] waits for the end of the session, so that you can close the socket;
//! [`Session::is_alive`] asks Redis on each call.
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
//! [`revoke_all`](SessionStore::revoke_all) end them, and refuse logins that began before;
//! [`evict_above`](SessionStore::evict_above) and [`refuse_above`](SessionStore::refuse_above) bound their number.
//!
//! In a cluster, a session and the list of its user are on different servers. So the session is added to the list first,
//! and the user is written to the session afterwards. Every session of a user is therefore in the list, unless Redis
//! evicted the list. Sessions in the list that have ended are skipped and removed when the list is read.
//!
//! # Eviction
//!
//! Every key has a time to live, so every eviction policy except `noeviction` may remove sessions and lists; `connect`
//! warns about these policies. An evicted session has ended. An evicted list is restored when its sessions are used:
//! each use adds its session again within a touch interval. Until then [`list`](SessionStore::list) does not show a
//! session, [`evict_above`](SessionStore::evict_above) and [`refuse_above`](SessionStore::refuse_above) do not count it,
//! and [`revoke_all`](SessionStore::revoke_all) does not delete it. The session ends nevertheless, because `revoke_all`
//! stores the time at which it ran: the next use that checks the list, at most a touch interval later, sees that the
//! login is older, deletes the session and returns none. A session that is not used ends by its idle timeout. Only if
//! the list is evicted again between the revocation and that use, the revocation is lost: use `noeviction` if that
//! matters.
//!
//! With `noeviction` and a full memory, reads, idle timeouts, logouts and revocations still work. Logins and other writes
//! get an [unavailable](crate::Error::is_unavailable) error.
//!
//! # What is stored
//!
//! One Redis hash per session, with one field per key. It also holds the SHA-256 of the token's secret or, with a
//! [pepper](SessionStore::pepper), an HMAC of the session's id and secret, and another of these and the user. The cookie
//! cannot be computed from what is in Redis. A token that the server did not issue never becomes a session's token. A
//! value is JSON, or `MessagePack` if you say so, of at most [`MAX_VALUE`] bytes, under a key of at most [`MAX_KEY`]
//! bytes; it may be sealed, that is encrypted. Its first byte tells the form. Redis stores a session compactly while
//! every value is at most `hash-max-listpack-value` bytes long (64 by default; 1024 suits sessions).
//!
//! # Timeouts and clocks
//!
//! Scripts use the clock of Redis: to end sessions, to date them and to check writes. A read runs no script, so the
//! clock of this host decides whether a use has to be noted or a token renewed, whether the session is past its absolute
//! end, whether a replaced token is still known as such (for a minute), and how old a login is. Keep both clocks within
//! seconds of each other.

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
