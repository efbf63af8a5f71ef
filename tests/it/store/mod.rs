//! The purge log: what it takes out of use, on which node, and what happens when the log itself is harmed.

mod listen;
mod log;
mod near;
mod outage;
mod purge;
mod replica;
mod requests;
