//! Sessions in Redis: records, the index of each user's sessions, and waiting for the end of a session.
//! In: tokens and changes. Out: one script or command for each operation, and its reply as a type of `record`.
//! Imported by `import`, `handle` and the slice's root.

pub(crate) mod devices;
pub(crate) mod index;
pub(crate) mod listing;
pub(crate) mod look;
pub(crate) mod records;
pub(crate) mod revocation;
#[expect(clippy::module_inception, reason = "named by role, as the type is")]
pub(crate) mod store;
pub(crate) mod wait;
