//! Pure: the token in the cookie, and the keys that its hashes are made with.
//! In: bytes of a cookie, keys of the application. Out: tokens and hashes, never shown by `Debug`.
//! Imported by every room above.

pub(crate) mod holder;
pub(crate) mod keys;
pub(crate) mod token;
