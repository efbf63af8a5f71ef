//! One check: in Redis, from the memory of this process, from several processes, and without Redis.

mod failure;
mod latency;
mod memory;
mod processes;
