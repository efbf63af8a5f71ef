//! From the head of a request to what is done with it: the layer's settings come in, a [`Verdict`](verdict::Verdict) goes out.
//! It asks the keys and the tiers, then the engine, and decides by itself when Redis fails. The body of a request that is
//! not admitted is read within bounds.
//! The layer and the service import it.

pub(crate) mod config;
pub(crate) mod drain;
mod failing;
pub(crate) mod in_flight;
pub(crate) mod plan;
pub(crate) mod tiers;
#[expect(
    clippy::module_inception,
    reason = "the file of the type that the room is named for"
)]
pub(crate) mod verdict;
