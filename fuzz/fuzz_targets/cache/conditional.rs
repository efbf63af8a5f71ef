//! Conditional requests and ranges, compiled from where they are.

#[path = "../../../src/cache/conditional/condition.rs"]
pub mod condition;
#[path = "../../../src/cache/conditional/range.rs"]
pub mod range;
#[path = "../../../src/cache/conditional/validation.rs"]
pub mod validation;
