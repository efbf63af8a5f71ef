//! The byte store under the response cache and the memo.
//!
//! An entry is looked up in this process, then in Redis. Its deadlines and the purge log, of which this process has a copy,
//! tell whether it may be used. A missing entry is made once, for all who wait in this and other processes.
//!
//! The rooms, from the top down: `leader` (who makes an entry), `tiers` (where entries are), `flight` (the loads of this
//! process), `purge_log` (the log in Redis), `history` (what the log says), `entry` (the stored bytes).

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

pub(crate) use crate::redis::Budget;
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
    lookup::{Found, Usable},
    settings::Settings,
};
