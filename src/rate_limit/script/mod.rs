//! One call of a script: subjects and a number of permits go to Redis, a decision comes back.
//! It knows the scripts' arguments and replies, and keeps places in Redis while they are used.
//! Only the room `engine` imports it.

pub(crate) mod arguments;
pub(crate) mod call;
pub(crate) mod check;
pub(crate) mod grant;
pub(crate) mod lease;
pub(crate) mod lease_id;
pub(crate) mod reply;
pub(crate) mod scripts;
pub(crate) mod single;
