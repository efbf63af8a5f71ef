//! The handle [`Redis`]: one fred client that all layers and handlers share.
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
//! | `redis+unix:///run/redis.sock` | a unix socket |
//!
//! Each scheme may also begin with `valkey` in place of `redis`. `rediss-cluster` and `rediss-sentinel` use TLS to every
//! server. Set a CA or a client certificate of your own on the [builder](RedisBuilder), with the feature `tls`.
//!
//! # How it is set up
//!
//! fred's own defaults wait without limit and may run a command twice. A client that this crate makes has a timeout on
//! every command, writes each command once, follows no redirection by itself, reconnects for ever with a back-off from
//! 10 ms to 250 ms, and sends without Nagle's delay. Every command of this crate carries these settings even on a client
//! that you made yourself. A `PING` every 30 s ([`heartbeat`](RedisBuilder::heartbeat)) keeps proxies from closing a
//! connection of its own as idle. A command that fred says it never sent is sent once more, within its deadline.
//!
//! # When Redis does not answer
//!
//! A command waits for its deadline and no longer. After five in a row without an answer the handle is [`Health::Down`]: all
//! commands fail at once, without being sent, while a probe every 100 ms or so finds out when Redis is back. The probe runs a
//! script that does nothing, so a server that holds back writes (`CLIENT PAUSE … WRITE`, the first second of a failover) is
//! down until it no longer does. A command that timed out while this process itself could not run is not counted.
//!
//! A connection that is open but dead is made anew. A fred client whose task has ended is replaced, also when it ended together
//! with its runtime: a handle can be used in one runtime after another. In a cluster each primary has a connection and a
//! health of its own. A line in the log tells of each change, at most one a second and kind.
//!
//! # When the primary changes
//!
//! A switch that sentinels announce is followed at once. A server that answers `READONLY` is asked for its role with
//! `INFO replication`, every 250 ms at most; reads go on. If it is a replica, a second connection finds the server anew, by name or
//! through the sentinels. Once that connection is on a primary, new commands use it, and the first connection follows when its
//! own are over.
//!
//! `REPLICAOF` behind the back of sentinels is not announced: they name the old primary until they have noticed, which
//! took 25 s in a test, and until then no write works, nor any read that must be of a primary. Use `SENTINEL FAILOVER` (on
//! Valkey 9 and later with `COORDINATED`), or `CLUSTER FAILOVER` in a cluster.
//!
//! In a cluster, fred drops the connection to a server that answers `CLUSTERDOWN`, which fails what is in flight on it; the map is
//! read anew every 250 ms at most.
//!
//! - A connection that is open but gives no answer is closed and made again.
//! - A fred client whose task ended is replaced.
//! - In a cluster, each primary has a connection and a health of its own.
//! - When the sentinels announce another primary, the handle connects to it at once.
//!
//! A command that failed does not run later: fred drops the commands that it has not sent yet, and a script that
//! reaches the server after its time limit refuses to run. A plain command that was sent may still run late. This is
//! harmless: a stored response or value carries its own age, and one that is deleted is stored again.
//!
//! # What it writes
//!
//! Every key begins with the namespace, and every key has a time to live. No command scans or flushes. Two commands have
//! a connection of their own: `XREAD BLOCK`, by which the cache and memos wait for purges, and `SUBSCRIBE`, by which the
//! session layer hears that a session ended.

mod builder;
mod client;
mod connect;
mod connect_error;
mod connection;
mod requirements;
mod shared_client;
mod topology;
mod url;

pub use builder::RedisBuilder;
pub use client::handle::Redis;
pub use connection::health::Health;

#[cfg(feature = "rate-limit")]
pub(crate) use client::packed_script::{Numbers, PackedScript};
pub(crate) use client::script::Script;
pub(crate) use client::stream::Record;
#[cfg(feature = "session")]
pub(crate) use client::subscription::{Heard, Subscription};
#[cfg(feature = "cache")]
pub(crate) use client::tail::Tail;
pub(crate) use fred::types::Value;
