//! The session that a handler holds, and all that it can do with it.
//! In: the calls of handlers and of the service. Out: reads and writes of the store, and what the response has to say.
//! Imported by the slice's root only.

pub(crate) mod authentication;
pub(crate) mod commit;
pub(crate) mod config;
pub(crate) mod csrf;
pub(crate) mod end;
pub(crate) mod flash;
#[cfg(feature = "tower-sessions-import")]
pub(crate) mod import;
pub(crate) mod load;
pub(crate) mod session;
pub(crate) mod typed;
pub(crate) mod update;
