//! Sessions through the layer, as browsers see them, and the store beneath.

// Which responses write, what they say of the cookie, what clients can log.
mod answers;
// A browser with a jar, and one request with a handler in place.
mod browser;

// What rests on what is stored, on a cluster.
mod cluster;
// Over axum, plain hyper, tower-test's mock and a concurrency limit.
mod compose;
// Names, attributes, tossed and garbage cookies.
mod cookies;
// Round trips and Set-Cookie of each kind of request.
mod cost;
// A user's sessions: listed, ended, bounded in number.
mod devices;
// Redis gone, hung, or holding what is not ours.
mod failures;
// Another user on the same browser.
mod handover;
// Sessions that the real tower-sessions left behind.
mod import;
// From login to the end: renewed tokens, remembered logins, the age of a login.
mod life;
// A full memory: keys evicted, writes refused.
mod memory;
// Layers around layers, with one cookie or with two.
mod nested;
// CSRF tokens, a second cookie, events, a cookie for tests.
mod pages;
// Records and lists of the version before.
mod rollout;
// Requests that overlap each other, logins and logouts.
mod races;
// Fixation, replay, secrets at rest and in logs.
mod security;
// WebSockets and streams: use after the response, and the end of a session.
mod sockets;
// The object beneath, without HTTP.
mod store;
// Idle and absolute timeouts.
mod timeouts;
// Additions and updates that depend on the value before.
mod updates;
// Values: typed, flashed, bounded, packed, sealed.
mod values;
