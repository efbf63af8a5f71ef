//! What a handler does with its session.

// What a handler writes when its session ends or is logged out meanwhile.
pub(crate) mod commits;
// CSRF tokens.
pub(crate) mod csrf;
// Waiting for the end of a session.
pub(crate) mod end;
// From login to the end: renewed tokens, remembered logins, the age of a login.
pub(crate) mod lifetime;
// A second cookie, the extractors, a cookie for tests.
pub(crate) mod marked;
// Requests that write at the same time.
pub(crate) mod parallel;
// Requests that overlap a login, a logout or a rotation.
pub(crate) mod races;
// Use of a session after its response has left.
pub(crate) mod sockets;
// Additions and updates that depend on the value before.
pub(crate) mod updates;
// Another user on the same browser.
pub(crate) mod user_change;
// Structs as sessions, and flash messages.
pub(crate) mod values;
