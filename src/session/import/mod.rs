//! Sessions of tower-sessions, taken over as their browsers come back.
//! In: the old cookie. Out: a new session in the store with the values of the old one.
//! Imported by `handle` and the slice's root.

pub(crate) mod legacy;
pub(crate) mod legacy_record;
pub(crate) mod migration;
pub(crate) mod tower_sessions;
