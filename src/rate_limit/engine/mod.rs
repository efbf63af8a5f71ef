//! Who decides: this process by what it remembers, else Redis by one script.
//!
//! Claims come in; a decision goes out, with the places that it holds. Imported by the slice's root only.

pub(crate) mod batch;
pub(crate) mod call;
pub(crate) mod cluster;
pub(crate) mod denials;
pub(crate) mod engine;
pub(crate) mod lease;
pub(crate) mod local;
pub(crate) mod policy_names;
pub(crate) mod returns;
pub(crate) mod tiers;
pub(crate) mod unfinished;
