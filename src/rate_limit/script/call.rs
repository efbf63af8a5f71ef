//! The script calls: what is asked of Redis, and what it says.

use std::sync::Arc;

use bytes::Bytes;

use super::lease::{Lease, LeaseId};
use crate::{
    error::{Error, Kind},
    rate_limit::{
        decision::{
            decision::Decision,
            standing::{Reading, Request, Standing},
        },
        quota::{claim::Claim, policies::Limit},
    },
    redis::{Redis, Script, Value},
};

/// How many permits are asked for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ask {
    /// So many at least, or it is a denial.
    pub(crate) least: u64,
    /// As many as there are, up to this.
    pub(crate) most: u64,
    /// Only to see whether they would be granted.
    pub(crate) look: bool,
}

/// What was granted.
#[derive(Debug)]
pub(crate) struct Grant {
    pub(crate) decision: Decision,
    pub(crate) permits: u64,
}

impl Ask {
    /// For exactly so many. No limit is larger than the greatest cost that is sent.
    pub(crate) fn exactly(cost: u64) -> Self {
        let least = cost.min(u64::from(u32::MAX) + 1);
        let most = least;
        let look = false;
        Self { least, most, look }
    }
}

/// Decides in one call. The keys of the claims must be on one server.
pub(crate) async fn decide(redis: &Redis, claims: &[Claim], ask: Ask) -> Result<Grant, Error> {
    let needs_place = claims.iter().flat_map(Claim::limits);
    let mut lease_times = needs_place.filter_map(|limit| limit.policy.lease_time());
    let takes_place = ask.most > 0 && !ask.look && lease_times.next().is_some();
    // Made before it is asked for: a place of a caller that goes away meanwhile is given back too.
    let lease = takes_place.then(|| Lease::new(redis, claims));
    let id = lease.as_ref().map(|lease| lease.id().clone());

    let head = [
        number(ask.least),
        number(ask.most),
        word(if ask.look { "look" } else { "take" }),
    ];
    let mode = |limit: &Limit| {
        word(if limit.policy.is_shadow() {
            "shadow"
        } else {
            "enforced"
        })
    };
    let args = arguments(head, claims, id.as_ref(), |at| mode(at));
    let reply: Vec<i64> = redis
        .run_on(decider(claims), &keys(redis, claims), args)
        .await?;
    let grant = read(&reply, claims, ask)?;
    match lease {
        Some(mut lease) if grant.decision.is_allowed() => {
            lease.keep();
            let decision = grant.decision.holding(vec![Arc::new(lease)]);
            Ok(Grant { decision, ..grant })
        }
        Some(lease) => {
            lease.forget();
            Ok(grant)
        }
        None => Ok(grant),
    }
}

/// Gives permits back that `standings` used, or, if there are none, any. What came back by itself since is not given back
/// again.
pub(crate) async fn refund(
    redis: &Redis,
    claims: &[Claim],
    permits: u64,
    standings: &[Standing],
) -> Result<(), Error> {
    let head = [number(permits.min(u32::MAX.into())), word("-"), word("-")];
    let mut standings = standings.iter();
    let over = |limit: &Limit| match (standings.next(), limit.policy.lease_time()) {
        (Some(standing), _) => number(standing.over()),
        (None, Some(_)) => number(1),
        (None, None) => number(0),
    };
    let args = arguments(head, claims, None, over);
    redis
        .run_on::<()>(&REFUND, &keys(redis, claims), args)
        .await
}

/// Gives a place back.
pub(crate) async fn leave(redis: &Redis, claims: &[Claim], id: &LeaseId) -> Result<(), Error> {
    let args = arguments(
        [number(0), word("-"), word("-")],
        claims,
        Some(id),
        |limit| {
            // Of the policies of another kind there is nothing to give back.
            number(u64::from(limit.policy.lease_time().is_none()))
        },
    );
    redis
        .run_on::<()>(&REFUND, &keys(redis, claims), args)
        .await
}

/// Says that a place is still needed.
pub(crate) async fn renew(redis: &Redis, claims: &[Claim], id: &LeaseId) -> Result<(), Error> {
    let args = arguments([word("-"), word("-"), word("-")], claims, Some(id), |_| {
        word("-")
    });
    redis.run_on::<()>(&RENEW, &keys(redis, claims), args).await
}

/// Forgets a subject.
pub(crate) async fn reset(redis: &Redis, claim: &Claim) -> Result<(), Error> {
    let claims = std::slice::from_ref(claim);
    redis.run_on::<()>(&RESET, &keys(redis, claims), []).await
}

fn keys(redis: &Redis, claims: &[Claim]) -> Vec<String> {
    let namespace = redis.namespace();
    claims
        .iter()
        .flat_map(|claim| claim.keys(namespace))
        .collect()
}

fn arguments(
    head: [Value; 3],
    claims: &[Claim],
    id: Option<&LeaseId>,
    mut mode: impl FnMut(&Limit) -> Value,
) -> Vec<Value> {
    let mut arguments = Vec::from(head);
    let limits = claims
        .iter()
        .flat_map(|claim| claim.limits().map(move |limit| (claim, limit)));
    for (claim, limit) in limits {
        let [a, b, c] = limit.numbers.clone();
        let c = match (id, limit.policy.lease_time(), &limit.mark) {
            (Some(id), Some(lease), _) => format!("{}:{}", id.text(), lease.as_micros()).into(),
            (_, _, Some(mark)) if claim.may_change(limit) => mark.clone(),
            _ => c,
        };
        let [a, b, c] = [a, b, c].map(Value::from);
        arguments.extend([Value::from(limit.kind.clone()), mode(limit), a, b, c]);
    }
    arguments
}

/// The reply of `decide.lua`.
fn read(reply: &[i64], claims: &[Claim], ask: Ask) -> Result<Grant, Error> {
    let unexpected = || {
        Error::new(
            Kind::Corrupt,
            "redis answered a script with an unexpected value",
        )
    };
    let (head, rest) = reply.split_at_checked(3).ok_or_else(unexpected)?;
    let admitted = head[0] == 1;
    let [permits, now] = [head[1], head[2]].map(|number| u64::try_from(number).unwrap_or(0));
    let positive = |number: i64| u64::try_from(number).unwrap_or(0);
    let mut standings = Vec::with_capacity(rest.len() / 5);
    let mut numbers = rest.chunks_exact(5);
    for limit in claims.iter().flat_map(Claim::limits) {
        let &[fits, level, wait, following, reset] = numbers.next().ok_or_else(unexpected)? else {
            return Err(unexpected());
        };
        let reading = Reading {
            fits: fits == 1,
            level: positive(level),
            wait,
            following: positive(following),
            reset: positive(reset),
        };
        let charged = admitted && fits == 1 && permits > 0 && !ask.look;
        // Places come back when the request ends.
        let charged = charged && limit.policy.lease_time().is_none();
        let request = Request {
            cost: ask.least,
            charged,
            at: now,
        };
        standings.push(Standing::new(limit, reading, request));
    }
    Ok(Grant {
        decision: Decision::new(admitted, standings),
        permits,
    })
}

/// A number as an argument of a script.
fn number(number: u64) -> Value {
    match number {
        0 => word("0"),
        1 => word("1"),
        other => Value::from(Bytes::from(other.to_string())),
    }
}

fn word(word: &'static str) -> Value {
    Value::from(Bytes::from_static(word.as_bytes()))
}

/// The script that decides, with no more algorithms than these policies have: each costs time in every run.
fn decider(claims: &[Claim]) -> &'static Script {
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

/// A script of what policies share, some algorithms, and what to do.
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
static REFUND: Script = script!(
    "lua/gcra.lua" "lua/log.lua" "lua/ring.lua" "lua/calendar.lua" "lua/places.lua" "lua/refund.lua"
);
static RENEW: Script = script!("lua/renew.lua");
static RESET: Script = Script::new(include_str!("lua/reset.lua"));
