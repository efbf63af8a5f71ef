//! The byte store under the response cache and the memo.
//!
//! An entry is looked up in this process, then in Redis. Whether it still holds is told by its deadlines and by the purge
//! log, of which this process has a copy; what is missing is made once, for all who wait in this and other processes.

mod purge;
#[allow(
    clippy::module_inception,
    reason = "a file per type: this one is the store's"
)]
mod store;

mod leader;
mod tiers;

mod flight;
mod purge_log;

mod history;

mod entry;

pub use purge::Purge;

#[cfg(test)]
pub(crate) use entry::key;
pub(crate) use entry::{
    decode::{Entry, Head, Stored, Variants},
    encode::Writer,
    key::{Digest, Key, KeyBuilder},
    lifetime::Life,
    log_position::Seq,
    slot::{Seen, Slot},
    state::State,
    tag::Tag,
    uri,
};
pub(crate) use leader::{lead::Lead, turn::Turn};
pub(crate) use purge_log::{clock::unix_millis, random::chance};
pub(crate) use store::Store;
pub(crate) use tiers::{
    budget::Budget,
    lookup::{Found, Usable},
    settings::Settings,
};
