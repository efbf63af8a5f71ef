//! Pure: the cookie in the headers of requests and responses.
//! In: header fields and a layer's settings. Out: tokens, and header values.
//! Imported by `state`, `import`, `handle` and the slice's root.

pub(crate) mod change;
pub(crate) mod config;
#[expect(clippy::module_inception, reason = "named by role, as the type is")]
pub(crate) mod cookie;
pub(crate) mod headers;
