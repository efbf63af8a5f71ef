//! The keys and arguments of the scripts.

use bytes::Bytes;

use super::lease_id::LeaseId;
use crate::{
    rate_limit::quota::{claim::Claim, policies::Limit},
    redis::{Redis, Value},
};

pub(crate) fn keys(redis: &Redis, claims: &[Claim]) -> Vec<String> {
    let namespace = redis.namespace();
    claims
        .iter()
        .flat_map(|claim| claim.keys(namespace))
        .collect()
}

pub(crate) fn arguments(
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
        let c = match (id, &limit.mark) {
            (Some(id), _) if limit.policy.lease_time().is_some() => id.member(limit).into(),
            (_, Some(mark)) if claim.may_change(limit) => mark.digits(),
            _ => c,
        };
        let [a, b, c] = [a, b, c].map(Value::from);
        arguments.extend([Value::from(limit.kind.clone()), mode(limit), a, b, c]);
    }
    arguments
}

/// A number as an argument of a script.
pub(crate) fn number(number: u64) -> Value {
    match number {
        0 => word("0"),
        1 => word("1"),
        other => Value::from(Bytes::from(other.to_string())),
    }
}

pub(crate) fn word(word: &'static str) -> Value {
    Value::from(Bytes::from_static(word.as_bytes()))
}
