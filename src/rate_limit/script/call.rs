//! One function for each script: sends the keys and arguments, reads the reply.

use super::{
    arguments::{arguments, keys, number, word},
    grant::{Ask, Grant},
    lease_id::LeaseId,
    reply,
    scripts::{REFUND, RENEW, RESET, decider},
    single,
};
use crate::{
    error::Error,
    rate_limit::{
        decision::standing::Standing,
        quota::{claim::Claim, policies::Limit},
    },
    redis::Redis,
};

/// Asks for permits, and under concurrency policies for a place of the lease `id`, if there is one.
pub(crate) async fn decide(
    redis: &Redis,
    claims: &[Claim],
    ask: Ask,
    id: Option<&LeaseId>,
) -> Result<Grant, Error> {
    if let Some((claim, limit)) = single::of(claims, ask) {
        return single::take(redis, claim, limit, ask.least, id).await;
    }
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
    let args = arguments(head, claims, id, |at| mode(at));
    let reply: Vec<i64> = redis
        .run_on(decider(claims), &keys(redis, claims), args)
        .await?;
    reply::read(&reply, claims, ask)
}

/// Gives back the permits that the decision with these standings used; without standings, any permits. Permits that
/// have come back with time since the decision are not given back again.
pub(crate) async fn refund(
    redis: &Redis,
    claims: &[Claim],
    permits: u64,
    standings: &[Standing],
) -> Result<(), Error> {
    let head = [number(permits.min(u32::MAX.into())), word("-"), word("-")];
    let mut standings = standings.iter();
    let until = |limit: &Limit| match (standings.next(), limit.policy.lease_time()) {
        (Some(standing), _) => number(standing.refundable_until()),
        (None, Some(_)) => number(1),
        (None, None) => number(0),
    };
    let args = arguments(head, claims, None, until);
    redis
        .run_on::<()>(&REFUND, &keys(redis, claims), args)
        .await
}

/// Gives the place of the lease `id` back.
pub(crate) async fn leave(redis: &Redis, claims: &[Claim], id: &LeaseId) -> Result<(), Error> {
    if let Some((claim, limit)) = only_places(claims) {
        return single::leave(redis, claim, limit, id).await;
    }
    let args = arguments(
        [number(0), word("-"), word("-")],
        claims,
        Some(id),
        |limit| {
            // 1 is a time long ago: policies other than concurrency give nothing back.
            number(u64::from(limit.policy.lease_time().is_none()))
        },
    );
    redis
        .run_on::<()>(&REFUND, &keys(redis, claims), args)
        .await
}

/// The concurrency policy, if there is only one.
fn only_places(claims: &[Claim]) -> Option<(&Claim, &Limit)> {
    let limits = claims
        .iter()
        .flat_map(|claim| claim.limits().map(move |limit| (claim, &**limit)));
    let mut places = limits.filter(|(_, limit)| limit.policy.lease_time().is_some());
    let only = places.next()?;
    places.next().is_none().then_some(only)
}

/// Extends the lease `id`.
pub(crate) async fn renew(redis: &Redis, claims: &[Claim], id: &LeaseId) -> Result<(), Error> {
    let args = arguments([word("-"), word("-"), word("-")], claims, Some(id), |_| {
        word("-")
    });
    redis.run_on::<()>(&RENEW, &keys(redis, claims), args).await
}

/// Deletes all that Redis stores for a claim.
pub(crate) async fn reset(redis: &Redis, claim: &Claim) -> Result<(), Error> {
    let claims = std::slice::from_ref(claim);
    redis.run_on::<()>(&RESET, &keys(redis, claims), []).await
}
