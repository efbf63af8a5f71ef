//! How much is allowed: quotas and policies come in, the numbers of the algorithms and the keys in Redis go out.
//! Pure: no Redis, no runtime, no clock.
//! All rooms above import it.

pub(crate) mod claim;
pub(crate) mod gcra;
pub(crate) mod items;
pub(crate) mod policies;
pub(crate) mod policy;
#[expect(
    clippy::module_inception,
    reason = "the file of the type that the room is named for"
)]
pub(crate) mod quota;
