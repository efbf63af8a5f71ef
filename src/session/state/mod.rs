//! Pure: what one request knows of its session.
//! In: calls of the handler and outcomes of reads and writes. Out: what to ask, what to write, what to tell the browser.
//! Imported by `handle` and the service.

pub(crate) mod logout;
pub(crate) mod session_state;
pub(crate) mod write_outcome;
