//! The byte store under the response cache and the memo: keys, entries, and the way to Redis.

mod entry;
mod flight;
pub(crate) mod key;
mod life;
mod purge;
mod remote;

pub(crate) use entry::{Entry, Head, Stored, Variants, Writer};
pub(crate) use flight::{Flights, Lead, Turn};
pub(crate) use key::{Digest, KeyBuilder};
pub(crate) use life::{Life, Seq};
pub use purge::Purge;
pub(crate) use remote::{Remote, Slot};
