//! What the tests stand on: private servers, other processes, HTTP over loopback, faults and a load to see them with.

pub mod crossing;
pub mod failover;
pub mod fault;
pub mod http;
pub mod keys;
pub mod load;
pub mod log;
pub mod patience;
pub mod process;
pub mod proxy;
pub mod server;
pub mod shop;
pub mod tls;
pub mod topology;

pub use patience::patiently;
pub use server::{Counts, Server};
