//! Copies the handler's body into the store while the client reads it.
//!
//! In: the handler's response. Out: the client's body, and an entry for the store. Only `flow` and the service import this.

pub(crate) mod body;
pub(crate) mod body_frame;
pub(crate) mod copy;
pub(crate) mod entry;
pub(crate) mod handover;
pub(crate) mod incomplete_body;
pub(crate) mod reader;
