//! The scripts, and which of them decides under which policies.

use crate::{rate_limit::quota::claim::Claim, redis::Script};

/// The script that decides. With a single algorithm it contains only that, since each algorithm costs time in every
/// run.
pub(crate) fn decider(claims: &[Claim]) -> &'static Script {
    let mut kinds = claims
        .iter()
        .flat_map(Claim::limits)
        .map(|limit| &*limit.kind);
    let first = kinds.next().unwrap_or_default();
    match first {
        _ if kinds.any(|kind| kind != first) => &DECIDE,
        b"gcra" => &GCRA,
        b"log" => &LOG,
        b"ring" => &RING,
        b"calendar" => &CALENDAR,
        b"places" => &PLACES,
        _ => &DECIDE,
    }
}

/// A script: what the policies share, then the algorithms, then the command.
macro_rules! script {
    ($($file:literal)+) => {
        Script::new(concat!(include_str!("lua/policies.lua"), $(include_str!($file)),+))
    };
}

static GCRA: Script = script!("lua/gcra.lua" "lua/decide.lua");
static LOG: Script = script!("lua/log.lua" "lua/decide.lua");
static RING: Script = script!("lua/ring.lua" "lua/decide.lua");
static CALENDAR: Script = script!("lua/calendar.lua" "lua/decide.lua");
static PLACES: Script = script!("lua/places.lua" "lua/decide.lua");
static DECIDE: Script = script!(
    "lua/gcra.lua" "lua/log.lua" "lua/ring.lua" "lua/calendar.lua" "lua/places.lua" "lua/decide.lua"
);
pub(crate) static REFUND: Script = script!(
    "lua/gcra.lua" "lua/log.lua" "lua/ring.lua" "lua/calendar.lua" "lua/places.lua" "lua/refund.lua"
);
pub(crate) static RENEW: Script = script!("lua/renew.lua");
pub(crate) static RESET: Script = Script::new(include_str!("lua/reset.lua"));
