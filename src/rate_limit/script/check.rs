//! One check of a request under policies whose keys are on one server.

use super::{
    call,
    grant::{Ask, Grant},
    lease::Lease,
};
use crate::{
    error::Error,
    rate_limit::{decision::places::Place, quota::claim::Claim},
    redis::Redis,
};

/// Decides in one call. The keys of the claims must be on one server.
pub(crate) async fn decide(redis: &Redis, claims: &[Claim], ask: Ask) -> Result<Grant, Error> {
    let needs_place = claims.iter().flat_map(Claim::limits);
    let mut lease_times = needs_place.filter_map(|limit| limit.policy.lease_time());
    let takes_place = ask.most > 0 && !ask.look && lease_times.next().is_some();
    // Made before the call: if the caller drops this future meanwhile, the lease's destructor gives the place back.
    let lease = takes_place.then(|| Lease::new(redis, claims));
    let grant = call::decide(redis, claims, ask, lease.as_ref().map(Lease::id)).await?;
    match lease {
        Some(mut lease) if grant.decision.is_allowed() => {
            lease.keep();
            let decision = grant.decision.holding(vec![Place::new(lease)]);
            Ok(Grant { decision, ..grant })
        }
        Some(lease) => {
            lease.forget();
            Ok(grant)
        }
        None => Ok(grant),
    }
}
