//! Faults of servers and of the connections to them, and an application under load that shows what a fault does.

pub mod crossing;
pub mod failover;
pub mod fault;
#[allow(dead_code, reason = "for the fault run")]
pub mod idle;
pub mod load;
pub mod proxy;
pub mod relay;
pub mod shop;
