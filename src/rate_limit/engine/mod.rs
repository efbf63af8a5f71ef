//! Subjects with their policies come in, a decision goes out.
//! It is made by what this process knows, else by the scripts in Redis.
//! The layer, the service, the limiter and the room `verdict` import it.

pub(crate) mod bounded_map;
pub(crate) mod cluster;
pub(crate) mod denials;
#[expect(
    clippy::module_inception,
    reason = "the file of the type that the room is named for"
)]
pub(crate) mod engine;
pub(crate) mod local_batch;
pub(crate) mod local_limiter;
pub(crate) mod policy_names;
pub(crate) mod refunds;
