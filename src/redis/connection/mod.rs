//! One connection to one server: fred's settings for it, how it is made again when it is lost, and whether it answers.
//!
//! In: settings and addresses. Out: a fred client, the health of its server, and the meaning of its errors.
//! Every other room of the slice may import it; it imports none of them.

pub(crate) mod breaker;
pub(crate) mod dedicated;
pub(crate) mod fred_error;
pub(crate) mod health;
pub(crate) mod link;
pub(crate) mod recovery;
pub(crate) mod server_clock;
pub(crate) mod settings;
pub(crate) mod stall;
pub(crate) mod task;
#[cfg(feature = "tls")]
pub(crate) mod tls;
