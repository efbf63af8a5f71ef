//! The layers alone and together: in every order, on axum and on plain hyper, and over services of other kinds.

mod application;
mod bodies;
mod privacy;
mod readiness;
mod stacks;

pub use stacks::check_all_three;
