//! One check: in Redis, from the memory of this process, from several processes, and without Redis.

mod failure;
mod memory;
mod processes;
