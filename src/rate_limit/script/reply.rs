//! The parser of the reply of `decide.lua`.

use super::grant::{Ask, Grant};
use crate::{
    error::{Error, Kind},
    rate_limit::{
        decision::{
            decision::Decision,
            standing::{Reading, Request, Standing},
        },
        quota::claim::Claim,
    },
};

/// Reads the reply of `decide.lua` to `ask`.
pub(crate) fn read(reply: &[i64], claims: &[Claim], ask: Ask) -> Result<Grant, Error> {
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
        // A place is given back when the request ends, not by a refund.
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
