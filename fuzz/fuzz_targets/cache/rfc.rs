//! What HTTP says, compiled from where it is.

#[path = "../../../src/cache/rfc/cache_control.rs"]
pub mod cache_control;
#[path = "../../../src/cache/rfc/date.rs"]
pub mod date;
#[path = "../../../src/cache/rfc/freshness.rs"]
pub mod freshness;
#[path = "../../../src/cache/rfc/groups.rs"]
pub mod groups;
#[path = "../../../src/cache/rfc/stored_fields.rs"]
pub mod stored_fields;
#[path = "../../../src/cache/rfc/targeted.rs"]
pub mod targeted;
#[path = "../../../src/cache/rfc/vary.rs"]
pub mod vary;
