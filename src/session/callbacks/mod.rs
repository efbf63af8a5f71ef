//! Pure: functions that the application gives to the layer.
//! In: the head of a request or response, or a suspicious token. Out: what the application's function says.
//! Imported by `handle` and the slice's root.

pub(crate) mod client_description;
pub(crate) mod commit_predicate;
pub(crate) mod security_event;
