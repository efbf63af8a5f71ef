//! The handle: one fred client that every layer and every handler shares.
//!
//! ```no_run
//! use std::time::Duration;
//! use tower_fred::Redis;
//!
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let redis = Redis::builder()
//!     .namespace("shop")
//!     .deadline(Duration::from_millis(100))
//!     .connect("redis://localhost:6379/0")
//!     .await?;
//!
//! // The raw fred client, for everything else that Redis does.
//! use tower_fred::fred::interfaces::KeysInterface;
//! let visits: i64 = redis.client().incr("shop:visits").await?;
//! # Ok(())
//! # }
//! ```
//!
//! # Where to connect to
//!
//! | URL | server |
//! | --- | --- |
//! | `redis://user:password@host:6379/0` | one server; user, password and database are optional |
//! | `rediss://host:6379` | the same over TLS (feature `tls`; refused without it, never sent in plain text) |
//! | `redis-cluster://host:7000?node=host:7001` | a cluster |
//! | `redis-sentinel://host:26379?sentinelServiceName=main&node=host:26380` | a primary found through sentinels |
//! | `redis+unix:///run/redis.sock?db=2` | a unix socket |
//!
//! A database is the path or `?db=…`. A cluster has database 0 only: fred selects no other there, also where the servers
//! have more. An IPv6 address is written in brackets, `redis://[::1]:6379`, also in `node=`. What is not a letter, a digit or
//! one of `-._~` in a user, a password or a path of a socket is percent-encoded. A parameter that is not known, or has no
//! effect in its kind of URL, is an error; no error shows any part of a URL, which may hold a password.
//!
//! `valkey` may stand for `redis` in each. `rediss-cluster` and `rediss-sentinel` are those over TLS, to every server. A
//! CA or a client certificate of your own is set on the [builder](RedisBuilder), with the feature `tls`.
//!
//! The servers of a cluster, and sentinels, often tell addresses where certificates are for names. A certificate is then
//! good if it is for the address, for the name that the cluster tells beside it (`cluster-announce-hostname`), or for a host
//! of the URL.
//!
//! A server of a cluster that does not know its own address yet is the one that was asked, at the port that it tells. Only
//! the layers know that: fred's cluster client, which [`Redis::client`] gives, cannot connect then, and each of its commands
//! times out. `connect` logs a warning; setting `cluster-announce-ip` on the server ends it.
//!
//! # How it is set up
//!
//! fred's own defaults wait without limit and may run a command twice. A client that this crate makes has a timeout on
//! every command, writes each command once, follows no redirection by itself, reconnects for ever with a back-off from
//! 10 ms to 250 ms, and sends without Nagle's delay. Every command of this crate carries these settings even on a client
//! that you made yourself.
//!
//! # When Redis does not answer
//!
//! A command waits for its deadline and no longer. After five in a row without an answer the handle is [`Health::Down`]: all
//! commands fail at once, without being sent, while a probe every 100 ms or so finds out when Redis is back. A connection that is
//! open but dead is made anew, a fred client whose task has ended is replaced, in a cluster each primary has a connection and
//! a health of its own, and a switch that sentinels announce is followed at once. One line in the log tells of each change.
//!
//! A command whose caller was told that it failed does not run later: fred drops those that it has not sent yet, and a
//! script that reaches the server after its time refuses to run. The exceptions are harmless: a stored response or value
//! that arrives late is as old as it says, and so is a deletion.
//!
//! # What it writes
//!
//! Every key begins with the namespace, and every key has a time to live. No command scans or flushes, and none blocks but
//! on a connection of its own, by which the cache and memos wait for purges.

mod client;
mod connect;
mod connection;
mod neighbour;
mod options;
mod requirements;
mod shared_client;
mod topology;
mod url;
mod url_parts;

pub use client::client::Redis;
pub use connection::health::Health;
pub use options::RedisBuilder;

pub(crate) use client::script::Script;
pub(crate) use client::stream::Record;
#[cfg(feature = "session")]
pub(crate) use client::subscription::{Heard, Subscription};
#[cfg(feature = "cache")]
pub(crate) use client::tail::Tail;
pub(crate) use fred::types::Value;
