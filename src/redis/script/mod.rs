//! Lua scripts: their text, the words of a run, and the proof that a reply answers it.
//!
//! In: a fred client. Out: a reply, or fred's error. The room `client` imports it.

#[cfg(feature = "rate-limit")]
pub(crate) mod joint_argument;
mod loaded_script;
#[cfg(feature = "rate-limit")]
pub(crate) mod packed_script;
#[expect(clippy::module_inception, reason = "the room's main type")]
pub(crate) mod script;
