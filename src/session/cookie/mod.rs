//! Pure: the cookie in the headers of requests and responses.
//! In: header fields and a layer's settings. Out: tokens, and header values.
//! Imported by `state`, `import`, `handle` and the slice's root.

pub(crate) mod attributes;
pub(crate) mod change;
pub(crate) mod fields;
pub(crate) mod response_headers;
