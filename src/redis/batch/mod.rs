//! Natural batching: questions that are asked while another one of their kind is on its way leave together.
//! Questions of many callers come in, commands with several questions go out through a [`carrier::Carrier`]. Nothing here
//! knows what is asked. Only the room `client` imports it.

pub(crate) mod batcher;
pub(crate) mod carrier;
pub(crate) mod queue;
pub(crate) mod refusal;
pub(crate) mod sizes;
