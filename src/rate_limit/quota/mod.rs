//! How much a subject may use: quotas, policies, and who is held to which. Pure.
//!
//! Settings and identities come in; claims with the arguments of the scripts go out. Imported by decision, the engine and the
//! slice's root.

pub(crate) mod claim;
pub(crate) mod gcra;
pub(crate) mod items;
pub(crate) mod policies;
pub(crate) mod policy;
pub(crate) mod quota;
