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
//! # Many callers at once
//!
//! In one process, callers that ask for the same key at the same time share one question to Redis and one load. Those that
//! wait get what the first one found, and its fate hangs on nobody: when it is cancelled, panics or fails, the next takes
//! over. Two processes may load the same value at the same time.
//!
//! # Without Redis
//!
//! `get_or_set` loads, and still at most once at a time in each process. Nothing that goes wrong with Redis reaches its
//! caller; the other methods return an error, since their callers asked for nothing else.
//!
//! # What may go wrong
//!
//! A load that began before an [`invalidate`](Memo::invalidate) in *another* process may end after it, and then keeps the
//! old value for its time to live. In the same process it is not kept. Values and keys should not be secrets: values are
//! stored as they are; keys are hashed.

mod codec;
mod config;
mod many;
mod settings;
mod values;

pub use values::Memo;
