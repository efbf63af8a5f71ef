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
//! | `redis+unix:///run/redis.sock?db=2` | a unix socket |
//!
//! A database is the path or `?db=…`. A cluster has database 0 only: fred selects no other there, also where the servers
//! have more. An IPv6 address is written in brackets, `redis://[::1]:6379`, also in `node=`. What is not a letter, a digit or
//! one of `-._~` in a user, a password or a path of a socket is percent-encoded. A parameter that is not known, or has no
//! effect in its kind of URL, is an error; no error shows any part of a URL, which may hold a password.
//!
//! Each scheme may also begin with `valkey` in place of `redis`. `rediss-cluster` and `rediss-sentinel` use TLS to every
//! server. Set a CA or a client certificate of your own on the [builder](RedisBuilder), with the feature `tls`.
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
//! A command that failed does not run later: fred drops the commands that it has not sent yet, and a script that
//! reaches the server after its time limit refuses to run. A plain command that was sent may still run late. This is
//! harmless: a stored response or value carries its own age, and one that is deleted is stored again.
//!
//! # Which servers
//!
//! Every test runs on Redis 7.0 and later, Valkey 8 and later, and Redict. Where they differ:
//!
//! | server | what is different | what it means here |
//! | --- | --- | --- |
//! | Redis 7.4, Valkey 8 and later | forget the scripts of `EVAL` after 500 others | scripts are loaded with `SCRIPT LOAD`, which they keep |
//! | Valkey 9 and later | hold back writes, and scripts that may write, for about 100 ms at each atomic slot migration | a deadline of 50 ms sees a burst of time-outs; the default of 250 ms does not |
//! | all | take `EVALSHA` with a hash that they do not know for a write, and hold it back as such | a script that only reads waits once, if the server was emptied (`SCRIPT FLUSH`, a restart) and holds back writes |
//! | Valkey 9 and later | have databases in a cluster | not used: a cluster is used with database 0 |
//! | Valkey 9.1 and later | keep a number that a script stored as text | a limiter's key takes about 15 % more memory |
//! | descendants of Redis 7.2.4 (Redict, Valkey) | may not end an `XREAD BLOCK` when its time is over | the handle ends it, and connects again |
//! | an eviction policy `volatile-random`, on Valkey 9.1 also `volatile-lru` | may evict the purge log, which has a time to live | no purge is undone: every process begins a new log, and its entries in the process (`near`) anew |
//!
//! # What is asked at the same time
//!
//! A lookup of the cache or of a memo leaves at once as `GET` when none is on its way. Otherwise it waits until the tasks that
//! can run have asked for theirs, or for a millisecond or so if two commands are on their way, and they leave together as
//! `MGET`: up to 128, in a cluster those of one slot. Each caller keeps its deadline and may be dropped at any time. If Redis
//! refuses a key or the `MGET`, the keys in question are read by a `GET` each. An `MGET` without an answer is the error of each, and
//! counts once for the health. A value of more than 16 KiB is read alone once its size is known. The records of sessions are read
//! the same way: by `HGETALL`, or up to 64 by one script.
//!
//! Checks of a limit with a single GCRA policy leave the same way: each by a script of its own, or up to 128 by one script, which
//! decides in the order in which they were asked. A value that this script does not expect is left to the script of its own.
//! Checks whose common script got no answer may have been counted: they fail, and are not sent again.
//!
//! # What it writes
//!
//! Every key begins with the namespace, and every key has a time to live. No command scans or flushes. Two commands have
//! a connection of their own: `XREAD BLOCK`, by which the cache and memos wait for purges, and `SUBSCRIBE`, by which the
//! session layer hears that a session ended.

mod address;
mod batch;
mod builder;
mod client;
mod connect;
mod connection;
mod neighbour;
mod requirements;
mod script;
mod shared_client;
mod topology;

pub use builder::RedisBuilder;
pub use client::handle::Redis;
pub use connection::health::Health;

#[cfg(any(feature = "cache", feature = "rate-limit", feature = "session"))]
pub(crate) use client::budget::Budget;
#[cfg(feature = "rate-limit")]
pub(crate) use client::joint_runs::JointScript;
pub(crate) use client::stream::Record;
#[cfg(feature = "session")]
pub(crate) use client::subscription::{Heard, Subscription};
#[cfg(feature = "cache")]
pub(crate) use client::tail::Tail;
pub(crate) use fred::types::Value;
#[cfg(feature = "rate-limit")]
pub(crate) use script::packed_script::PackedScript;
pub(crate) use script::script::Script;
