//! Who is counted: the head of a request comes in, an [`Identity`](identity::Identity) goes out.
//! Pure: no Redis, no runtime, no clock.
//! All rooms above import it.

pub(crate) mod forwarded;
pub(crate) mod hops;
pub(crate) mod identity;
pub(crate) mod ip;
pub(crate) mod key;
pub(crate) mod search;
