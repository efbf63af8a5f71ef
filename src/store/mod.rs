//! The byte store under the response cache and the memo.
//!
//! An entry is looked up in this process, then in Redis. Whether it still holds is told by its deadlines and by the purge
//! log, of which this process has a copy; what is missing is made once, for all who wait in this and other processes.

mod begin;
mod entry;
mod failures;
mod flight;
mod follow;
mod history;
pub(crate) mod key;
mod lead;
mod lease;
mod life;
mod listen;
mod log;
mod look;
mod near;
mod outdated;
#[cfg(feature = "compression")]
mod pack;
mod pulse;
mod purge;
mod purges;
mod recheck;
mod refresh;
mod remote;
mod settings;
mod state;
#[allow(
    clippy::module_inception,
    reason = "a file per type: this one is the store's"
)]
mod store;
mod tags;
mod tasks;
mod writer;

pub(crate) use entry::{Entry, Head, Stored, Variants};
pub(crate) use key::{Digest, KeyBuilder};
pub(crate) use lead::Lead;
pub(crate) use life::{Life, Seq, Tag};
pub use purge::Purge;
pub(crate) use remote::{Seen, Slot};
pub(crate) use settings::Settings;
pub(crate) use state::State;
pub(crate) use store::{Found, Store, Turn, Usable, chance, unix_millis};
pub(crate) use writer::Writer;
