//! The integration tests: everything against a real server that the harness starts.
//!
//! One binary, so that nothing here can rot unseen. A module per slice, one for what they do together.

#![allow(
    unreachable_pub,
    reason = "in one binary `pub` only says what other modules use"
)]

// The harness: servers, processes, HTTP.
mod support;

// The handle: URLs, settings, errors, scripts.
mod redis;

// Rate limits: the algorithm inside Redis, the layer over it, and what happens without Redis.
mod rate_limit;

// Sessions: what they cost, their races, their cookies, and what happens without Redis.
mod session;

// The response cache: a table of duties, then what a table cannot say.
mod batch;
mod cache;

// Cached values: one load for many callers.
mod memo;

// The purge log under both.
mod store;

// The layers alone and together, on every server.
mod compose;

// Pages behind a login, cached.
mod guarded;

// Everything under load, while Redis is harmed.
mod faults;

// Everything on every kind of deployment.
mod topologies;

// Everything as a Redis user that may do no more than the README says.
mod least_privilege;

// Permissions that are taken away while the application runs.
mod permission;

// Settings that cannot work, refused when they are made.
mod settings;

// The examples, run as a user runs them.
mod examples;
