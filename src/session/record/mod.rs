//! Pure: what is stored of a session, and what a write changes in it.
//! In: the fields of a hash in Redis. Out: the session that a token may see, and the steps of a write.
//! Imported by every room above.

pub(crate) mod bounds;
pub(crate) mod changes;
pub(crate) mod codec;
pub(crate) mod format;
pub(crate) mod hash;
pub(crate) mod index_entry;
pub(crate) mod login;
pub(crate) mod operation;
#[cfg(feature = "seal")]
pub(crate) mod seal;
pub(crate) mod session_record;
pub(crate) mod settings;
