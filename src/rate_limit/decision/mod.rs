//! What was decided, and how a client is told: header fields, problem bodies, places. Pure.
//!
//! What a script replied comes in; the public [`Decision`](crate::rate_limit::Decision) and response parts go out. Imported by the
//! engine and the slice's root.

pub(crate) mod decision;
pub(crate) mod headers;
pub(crate) mod place;
pub(crate) mod place_body;
pub(crate) mod places;
pub(crate) mod problem;
pub(crate) mod standing;
