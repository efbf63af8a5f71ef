//! Permits under a single policy: a script for each algorithm, which does no more than that one needs.

use std::sync::{Arc, LazyLock};

use super::{
    grant::{Ask, Grant},
    lease_id::LeaseId,
};
use crate::{
    error::Error,
    rate_limit::{
        decision::{
            decision::Decision,
            standing::{Reading, Request, Standing},
        },
        quota::{claim::Claim, policies::Limit},
    },
    redis::{JointScript, PackedScript, Redis},
};

/// The claim and its policy, if it is the only one and permits of it are taken as they are asked for. Everything else is
/// for `decide.lua`.
pub(crate) fn of(claims: &[Claim], ask: Ask) -> Option<(&Claim, &Arc<Limit>)> {
    let plain = ask.least == ask.most && ask.least > 0 && !ask.look;
    match (claims, plain) {
        ([claim], true) => match claim.policies.limits() {
            [limit] => Some((claim, limit)),
            _ => None,
        },
        _ => None,
    }
}

/// Asks for permits, and under a concurrency policy for a place of the lease `id`.
pub(crate) async fn take(
    redis: &Redis,
    claim: &Claim,
    limit: &Arc<Limit>,
    cost: u64,
    id: Option<&LeaseId>,
) -> Result<Grant, Error> {
    let key = claim.key(limit, redis.namespace()).into();
    let member = id.map(|id| id.member(limit));
    let text: &[u8] = match (&limit.mark, &member) {
        (Some(mark), _) if claim.may_change(limit) => mark.stored(),
        (Some(mark), _) => mark.without_numbers(),
        (None, Some(member)) => member.as_bytes(),
        (None, None) => b"",
    };
    let head = head(cost, limit);
    let numbers = match script(limit) {
        Some(script) => redis.run_packed(script, &key, &[&head, text]).await?,
        None => redis.run_jointly(&GCRA, &key, (&head, text)).await?,
    };
    Ok(read(numbers, limit, cost))
}

/// Gives the place of the lease `id` back.
pub(crate) async fn leave(
    redis: &Redis,
    claim: &Claim,
    limit: &Limit,
    id: &LeaseId,
) -> Result<(), Error> {
    let key = claim.key(limit, redis.namespace()).into();
    let member = id.member(limit);
    let argument = [&head(1, limit)[..], member.as_bytes()];
    redis.run_packed(&LEAVE, &key, &argument).await?;
    Ok(())
}

fn head(cost: u64, limit: &Limit) -> [u8; 32] {
    let mut head = [0; 32];
    let [a, b, c] = limit.doubles;
    for (place, number) in head.chunks_exact_mut(8).zip([cost as f64, a, b, c]) {
        place.copy_from_slice(&number.to_le_bytes());
    }
    head
}

fn read(numbers: [f64; 5], limit: &Arc<Limit>, cost: u64) -> Grant {
    let [now, level, wait, following, reset] = numbers;
    let fits = level >= 0.0;
    let level = if fits { level } else { -1.0 - level };
    // Whole numbers below 2^53.
    let reading = Reading {
        fits,
        level: level as u64,
        wait: wait as i64,
        following: following as u64,
        reset: reset as u64,
    };
    let request = Request {
        cost,
        // A place is given back when the request ends, not by a refund.
        charged: fits && limit.policy.lease_time().is_none(),
        at: now as u64,
    };
    let admitted = fits || limit.policy.is_shadow();
    let standing = Standing::new(limit, reading, request);
    Grant {
        decision: Decision::new(admitted, [standing]),
        permits: if admitted { cost } else { 0 },
    }
}

/// The script of an algorithm that decides for one caller in each run.
fn script(limit: &Limit) -> Option<&'static PackedScript> {
    match &*limit.kind {
        b"gcra" => None,
        b"log" => Some(&LOG),
        b"ring" => Some(&RING),
        b"calendar" => Some(&CALENDAR),
        _ => Some(&PLACES),
    }
}

/// The script of an algorithm: what nearly every run needs, then the rest.
macro_rules! script {
    ($file:literal) => {
        PackedScript::new(&[
            include_str!("lua/one/begin.lua"),
            include_str!(concat!("lua/one/", $file)),
            include_str!("lua/policies.lua"),
            include_str!(concat!("lua/", $file)),
            include_str!("lua/one/rest.lua"),
        ])
    };
}

static GCRA: LazyLock<JointScript> = LazyLock::new(|| JointScript {
    one: script!("gcra.lua"),
    many: PackedScript::new(&[include_str!("lua/gcra_batch.lua")]),
});
static LOG: LazyLock<PackedScript> = LazyLock::new(|| script!("log.lua"));
static RING: LazyLock<PackedScript> = LazyLock::new(|| script!("ring.lua"));
static CALENDAR: LazyLock<PackedScript> = LazyLock::new(|| script!("calendar.lua"));
static PLACES: LazyLock<PackedScript> = LazyLock::new(|| script!("places.lua"));
static LEAVE: LazyLock<PackedScript> =
    LazyLock::new(|| PackedScript::new(&[include_str!("lua/one/leave.lua")]));
