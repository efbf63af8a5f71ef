//! The syntax and meaning of HTTP's fields: dates, ages, directives (RFC 9110, 9111, 9211, 9213, 9875). Pure.
//!
//! In: header fields. Out: their meaning. All rooms of the cache import this one.

pub(crate) mod cache_control;
pub(crate) mod cache_status;
pub(crate) mod date;
pub(crate) mod freshness;
pub(crate) mod groups;
pub(crate) mod request_content;
pub(crate) mod request_directives;
pub(crate) mod stored_fields;
pub(crate) mod structured_text;
pub(crate) mod targeted;
pub(crate) mod vary;
