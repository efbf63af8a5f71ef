//! What is stored of a session, and in which form.

// The number of fields and bytes.
pub(crate) mod bounds;
// MessagePack and sealed values.
pub(crate) mod encoding;
// Secrets under a pepper.
pub(crate) mod pepper;
// Records and lists of the version before.
pub(crate) mod versions;
