//! Conditional requests and ranges (RFC 9110 §13 and §14), and validation (RFC 9111 §4.3). Pure.
//!
//! Fields of requests and responses come in; what they ask for, or how they differ, goes out. Imported by all rooms above.

pub(crate) mod condition;
pub(crate) mod range;
pub(crate) mod validation;
