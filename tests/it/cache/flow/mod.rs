//! A request through the cache: to the handler, to other requests, and back.

mod details;
mod failing;
mod faults;
mod flight;
mod gate;
mod intent;
mod staleness;
mod validation;
mod waiting;
