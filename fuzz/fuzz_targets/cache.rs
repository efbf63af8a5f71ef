//! The files of the response cache that read field values. They are compiled from the folder of the crate.

#![allow(dead_code, unreachable_pub)]

#[path = "../../src/cache/cache_control.rs"]
pub mod cache_control;
#[path = "../../src/cache/condition.rs"]
pub mod condition;
#[path = "../../src/cache/date.rs"]
pub mod date;
#[path = "../../src/cache/fields.rs"]
pub mod fields;
#[path = "../../src/cache/freshness.rs"]
pub mod freshness;
#[path = "../../src/cache/groups.rs"]
pub mod groups;
#[path = "../../src/cache/key.rs"]
pub mod key;
#[path = "../../src/cache/range.rs"]
pub mod range;
#[path = "../../src/cache/site.rs"]
pub mod site;
#[path = "../../src/cache/targeted.rs"]
pub mod targeted;
#[path = "../../src/cache/unnamed.rs"]
pub mod unnamed;
#[path = "../../src/cache/validation.rs"]
pub mod validation;
#[path = "../../src/cache/vary.rs"]
pub mod vary;
#[path = "../../src/cache/vary_by.rs"]
pub mod vary_by;
