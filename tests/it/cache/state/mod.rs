//! What the cache does in Redis.

mod commands;
