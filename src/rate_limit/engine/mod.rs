//! Subjects with their policies come in, a decision goes out.
//! It is made by what this process knows, else by the scripts in Redis.
//! The layer, the service, the limiter and the room `verdict` import it.

pub(crate) mod apart;
pub(crate) mod batch;
pub(crate) mod denials;
#[expect(
    clippy::module_inception,
    reason = "the file of the type that the room is named for"
)]
pub(crate) mod engine;
pub(crate) mod local;
pub(crate) mod names;
pub(crate) mod recent;
pub(crate) mod returns;
