//! What is stored: the bytes of an entry, its deadlines, and the names that it has. Pure: no tokio, no fred, no clock.
//!
//! In: bytes that were read, or the parts of an entry. Out: the parts, or the bytes to be written. Everything in the store
//! may import it; it imports nothing of it.

pub(crate) mod checksum;
#[cfg(feature = "compression")]
pub(crate) mod compression;
pub(crate) mod decode;
pub(crate) mod encode;
pub(crate) mod key;
pub(crate) mod lifetime;
pub(crate) mod log_position;
pub(crate) mod slot;
pub(crate) mod state;
pub(crate) mod tag;
pub(crate) mod uri;
