//! What the tests stand on: private servers, other processes, HTTP over loopback, and faults with a load under them.

pub mod command;
pub mod counts;
pub mod faults;
pub mod http;
pub mod keys;
pub mod log;
pub mod patience;
pub mod process;
pub mod server;
pub mod tls;
pub mod topology;

pub use counts::Counts;
pub use faults::{crossing, failover, fault, load, proxy, shop};
pub use patience::{patiently, until};
pub use server::Server;
