//! Cached values: what takes long to load is loaded once for all processes.
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
//! | [`get_or_refresh`](Memo::get_or_refresh) | loads it; if there is a stale one, in the background |
//! | [`get`](Memo::get), [`get_many`](Memo::get_many) | gives `None` |
//!
//! # Many callers at once
//!
//! In one process, callers that ask for the same key at the same time share one lookup in Redis and one load. The callers
//! that wait get the value of the one that loads. If that one is cancelled, panics, or makes no progress for a second,
//! another one takes over. If its load fails, the callers that waited load for themselves at the same time, or get a stale
//! value ([`stale_if_error`](Memo::stale_if_error)). Other processes wait for the load too, when loads take more than
//! 20 ms: below that, a load in each process costs less than waiting. [`wait`](Memo::wait) bounds how long a caller waits.
//!
//! # What it costs
//!
//! A hit is one command, or none with [`near`](Memo::near). A miss is one command before the load and one after it, for
//! which the caller does not wait; when an old value is there, one more command before the load. A load that takes longer
//! than half a second costs about three more commands a second. While values are asked for, each process reads the log of
//! purges 50 times a second, or as often as [`coherence`](crate::redis::RedisBuilder::coherence) asks for, on the connection
//! that it has, with a script that takes Redis about six microseconds; the first call after a pause reads it together with
//! its own command. One more connection waits for purges, so that they are
//! usually known within a millisecond.
//!
//! # What is never seen
//!
//! After [`set`](Memo::set), [`invalidate`](Memo::invalidate) or a [purge](crate::cache::Purge) has returned, callers that
//! ask later do not get a value that was loaded before it: at once in the same process, after 50 ms in others (see
//! [`coherence`](crate::redis::RedisBuilder::coherence)). That also
//! holds for a load that began before it and ends after it, and when Redis was flushed, restarted or cut off meanwhile.
//! No clock is involved. When two callers `set` a key at the same time, either value may remain.
//!
//! # Without Redis
//!
//! The `get_or_…` methods load, still at most once at a time for a key in each process, and their callers get no error of
//! Redis. The other methods return an error.
//!
//! # What may go wrong
//!
//! Values and keys should not be secrets: values are stored without encryption, and keys are hashed. A value that another
//! program writes under a key of a memo is used if it decodes: a shared Redis needs users with permissions.

mod codec;
mod config;
mod join_all;
mod loading;
mod refresh;
mod settings;
mod values;

pub use values::Memo;
