//! A response's way from the handler to the client and into the store.
//!
//! The handler's body comes in; what the client reads goes out, and the complete entry into the store. Imported by flow.

pub(crate) mod body;
pub(crate) mod copy;
pub(crate) mod draft;
pub(crate) mod fill;
pub(crate) mod handover;
pub(crate) mod piece;
pub(crate) mod reader;
