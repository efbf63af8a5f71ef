//! Who is counted: a request's key, read from its head or looked up. Pure.
//!
//! The head of a request comes in; an identity goes out. Imported by all other rooms of the slice.

pub(crate) mod async_key;
pub(crate) mod forwarded;
pub(crate) mod hops;
pub(crate) mod identity;
pub(crate) mod ip;
pub(crate) mod key;
pub(crate) mod lru;
pub(crate) mod search;
