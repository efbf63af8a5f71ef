//! Sessions, lists of a user's sessions, and timeouts in Redis.

// A user's sessions: listed, and ended.
pub(crate) mod devices;
// A full memory: keys evicted, writes refused.
pub(crate) mod eviction;
// Answers that come late.
mod latency;
// The place of a login in its user's list, until the login is confirmed.
pub(crate) mod reservations;
// How many sessions a user may have.
pub(crate) mod session_limits;
// Idle and absolute timeouts.
pub(crate) mod timeouts;
// The store without HTTP.
pub(crate) mod without_layer;
