//! Sessions in Redis: records, the index of each user's sessions, and waiting for the end of a session.
//! In: tokens and changes. Out: one script or command for each operation, and its reply as a type of `record`.
//! Imported by `import`, `handle` and the slice's root.

pub(crate) mod devices;
pub(crate) mod index_check;
pub(crate) mod lookup;
pub(crate) mod records;
pub(crate) mod revocation;
pub(crate) mod session_store;
pub(crate) mod user_index;
pub(crate) mod watcher;
pub(crate) mod watches;
