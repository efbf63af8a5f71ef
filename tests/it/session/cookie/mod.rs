//! The cookie, and what else a response says of its session.

// Names, attributes, tossed and garbage cookies.
pub(crate) mod attributes;
// Which responses write, what they say of the cookie, what clients can log.
pub(crate) mod responses;
// Tokens that open nothing, in events and in the log.
pub(crate) mod security_events;
