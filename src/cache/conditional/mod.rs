//! Conditional requests and ranges (RFC 9110 §13 and §14), and validation (RFC 9111 §4.3). Pure.
//!
//! In: fields of requests and responses. Out: whether conditions hold, which ranges are sent, what a validation means. `flow`
//! imports this room.

pub(crate) mod condition;
pub(crate) mod range;
pub(crate) mod validation;
