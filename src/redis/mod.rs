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
//! With fred's defaults, a command waits without limit and may run twice. A client that this crate makes has a timeout on
//! every command, writes each command once, follows no redirection by itself and sets `TCP_NODELAY`. It tries to reconnect
//! without end, with a back-off from 10 ms to 250 ms. The commands of this crate have the same timeout on a client that
//! you made yourself; there too, fred writes them once and redirects none.
//!
//! # When Redis does not answer
//!
//! A command waits no longer than its deadline. After five commands in a row got no answer, the handle is
//! [`Health::Down`]: commands fail at once and are not sent. A probe about every 100 ms finds out when Redis answers again.
//! Each of these changes is one line in the log.
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

pub(crate) use client::script::Script;
pub(crate) use client::stream::Record;
#[cfg(feature = "session")]
pub(crate) use client::subscription::{Heard, Subscription};
#[cfg(feature = "cache")]
pub(crate) use client::tail::Tail;
pub(crate) use fred::types::Value;
