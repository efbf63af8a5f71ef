//! The scripts with a clock that the test sets, against plain models in Rust.

mod batches;
mod clocks;
mod decisions;
mod harness;
mod models;
mod numbers;

// The library's own files: what is limited within the process is compared with what Redis says.
#[allow(dead_code, unreachable_pub)]
#[path = "../../../../src/rate_limit/quota/gcra.rs"]
mod gcra;
#[allow(dead_code, unreachable_pub)]
#[path = "../../../../src/redis/script/joint_argument.rs"]
mod joint_argument;
#[allow(dead_code, unreachable_pub)]
#[path = "../../../../src/rate_limit/quota/quota.rs"]
mod quota;
