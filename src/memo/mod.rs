//! Cached values: what takes long to load, loaded once for all processes.
//!
//! A [`Memo`] keeps values of one type in Redis under keys of the caller's choice, as JSON.
//!
//! ```no_run
//! use std::time::Duration;
//! use serde::{Deserialize, Serialize};
//! use tower_fred::{Redis, memo::Memo};
//!
//! #[derive(Serialize, Deserialize)]
//! struct Product {
//!     name: String,
//! }
//! # #[derive(Debug)] struct DbError;
//! # impl From<tower_fred::Error> for DbError { fn from(_: tower_fred::Error) -> Self { Self } }
//! # async fn load(id: u64) -> Result<Product, DbError> { Err(DbError) }
//!
//! # async fn example() -> Result<(), DbError> {
//! let redis = Redis::connect("redis://localhost").await?;
//! let products: Memo<Product> = Memo::new(redis, "products", Duration::from_secs(60));
//!
//! // In a handler: from Redis, or from the database and then in Redis.
//! let id = 7;
//! let product = products.get_or_try_set(id, || load(id)).await?;
//!
//! // After a change:
//! products.invalidate(id).await?;
//! # Ok(())
//! # }
//! ```
//!
//! | method | when there is no value |
//! | --- | --- |
//! | [`get_or_set`](Memo::get_or_set), [`get_or_try_set`](Memo::get_or_try_set) | loads it |
//! | [`get_or_refresh`](Memo::get_or_refresh) | loads it, and what is merely stale in the background |
//! | [`get`](Memo::get), [`get_many`](Memo::get_many) | gives nothing |
//!
//! # Many callers at once
//!
//! In one process, callers that ask for the same key at the same time share one question to Redis and one load. Those that
//! wait get what the first one found, and its fate hangs on nobody: when it is cancelled, panics, or makes no progress for a
//! second, another one takes over. When its load fails, those who waited load for themselves at the same time, or get a
//! stale value ([`stale_if_error`](Memo::stale_if_error)). Other processes wait for it too, as long as loads take more
//! than 20 ms: below that, one in each process costs less than waiting. How long anybody waits is bounded by
//! [`wait`](Memo::wait).
//!
//! # What it costs
//!
//! A hit is one command, or none with [`near`](Memo::near). A miss is one command before the load and one after it, which
//! the caller does not wait for; where an old value is in the way, one more before it. A load that takes longer than half
//! a second costs about three more in each second. While values are asked for, each process looks at the log of purges 50
//! times a second, on the connection that there is, with a script that takes Redis about six microseconds; the first call
//! after a pause does so beside its own command. One more connection waits for
//! purges, so that they are usually known within a millisecond.
//!
//! # What is never seen
//!
//! After [`set`](Memo::set), [`invalidate`](Memo::invalidate) or a [purge](crate::cache::Purge) has returned, a value that
//! was loaded before it is not given to anybody who asks later: at once in the same process, 50 ms later in others. That
//! holds also for a load that began before and ends after it, and when Redis was flushed, restarted or cut off meanwhile.
//! No clock is involved. A value that two callers `set` at the same time may be either's.
//!
//! # Without Redis
//!
//! `get_or_set` and its kin load, and still at most once at a time in each process. Nothing that goes wrong with Redis
//! reaches their callers; the other methods return an error, since their callers asked for nothing else.
//!
//! # What may go wrong
//!
//! Values and keys should not be secrets: values are stored as they are; keys are hashed. Values that other programs write
//! under our keys are taken for what they look like: a shared Redis needs users with permissions.

mod codec;
mod config;
mod join_all;
mod loading;
mod refresh;
mod settings;
mod values;

pub use values::Memo;
