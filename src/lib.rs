#![doc = include_str!("../README.md")]
#![doc = include_str!("glossary.md")]
#![cfg_attr(docsrs, feature(doc_cfg))]
#![cfg_attr(
    not(all(feature = "cache", feature = "rate-limit", feature = "session")),
    allow(
        dead_code,
        unused_imports,
        reason = "the floor serves every slice, and a part of them uses a part of it"
    )
)]

pub mod body;
mod error;
pub mod future;
mod log_pace;
#[cfg(any(feature = "cache", feature = "rate-limit", feature = "session"))]
mod personal;
pub mod redis;

#[cfg(feature = "cache")]
pub mod cache;
#[cfg(feature = "cache")]
pub mod memo;
#[cfg(feature = "rate-limit")]
pub mod rate_limit;
#[cfg(feature = "session")]
pub mod session;
#[cfg(all(feature = "rate-limit", feature = "session"))]
mod session_user;
#[cfg(feature = "cache")]
mod store;

/// The Redis client behind the handle, for its traits and types.
pub use fred;

#[cfg(feature = "cache")]
pub use cache::CacheLayer;
pub use error::Error;
#[cfg(feature = "rate-limit")]
pub use rate_limit::RateLimitLayer;
pub use redis::Redis;
#[cfg(feature = "session")]
pub use session::{Session, SessionLayer};
#[cfg(all(feature = "rate-limit", feature = "session"))]
pub use session_user::SessionUser;
