//! Sessions through the layer, as browsers see them, and the store without it. The folders are those of the sources.

// A browser with a jar, and one request with a handler in place.
mod browser;
// A handler that waits for the test.
mod gate;
// What a test logs.
mod log;

// What a handler does with its session.
mod handle;

// The objects beneath the layer, and what they keep in Redis.
mod store;

// The cookie, and what else a response says of its session.
mod cookie;

// What is stored of a session, and in which form.
mod record;

// What rests on what is stored, on a cluster.
mod cluster;
// Over axum, plain hyper, tower-test's mock and a concurrency limit.
mod compose;
// Round trips and Set-Cookie of each kind of request.
mod cost;
// Redis gone, hung, or holding what is not ours.
mod failures;
// Sessions that the real tower-sessions left behind.
mod import;
// Layers around layers, with one cookie or with two.
mod nested;
// Fixation, replay, secrets at rest and in logs.
mod security;
