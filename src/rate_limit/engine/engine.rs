//! Decides: by what this process knows, else by asking Redis.

use std::{slice, sync::Arc, time::Duration};

use tokio::time::{self, Instant};

use super::{
    cluster, denials::Denials, local_batch::Batches, policy_names::PolicyNames, refunds::Refunds,
};
use crate::{
    error::Error,
    rate_limit::{
        decision::{decision::Decision, standing::Standing},
        quota::claim::Claim,
        script::{
            call, check,
            grant::{Ask, Grant},
        },
    },
    redis::Redis,
};

/// What limiters and layers decide with. Clones share what they know.
#[derive(Clone, Debug)]
pub(crate) struct Engine {
    redis: Redis,
    denials: Option<Arc<Denials>>,
    pub(crate) refunds: Arc<Refunds>,
    pub(crate) names: Arc<PolicyNames>,
    batches: Option<Arc<Batches>>,
    max_wait: Duration,
}

impl Engine {
    pub(crate) fn new(redis: Redis) -> Self {
        let refunds = Refunds::of(&redis);
        Self {
            denials: Some(Arc::new(Denials::new(DENIALS, Arc::clone(&refunds)))),
            refunds,
            names: PolicyNames::of(&redis),
            redis,
            batches: None,
            max_wait: Duration::ZERO,
        }
    }

    pub(crate) fn without_denials(mut self) -> Self {
        self.denials = None;
        self
    }

    pub(crate) fn with_batches(mut self, most: u32) -> Self {
        let (redis, refunds) = (self.redis.clone(), Arc::clone(&self.refunds));
        self.batches = (most > 1).then(|| Arc::new(Batches::new(redis, refunds, most.into())));
        self
    }

    pub(crate) fn with_max_wait(mut self, max_wait: Duration) -> Self {
        self.max_wait = max_wait;
        self
    }

    /// Decides on a request for `cost` permits, after a wait if that makes it an admission.
    pub(crate) async fn decide(&self, claims: &[Claim], cost: u64) -> Result<Decision, Error> {
        let decision = self.decide_now(claims, cost).await?;
        if self.max_wait.is_zero() || decision.is_allowed() {
            return Ok(decision);
        }
        // A time that no clock reaches is no bound.
        let end = Instant::now().checked_add(self.max_wait);
        let mut decision = decision;
        while let Some(wait) = decision.retry_after() {
            let again = Instant::now() + wait;
            if end.is_some_and(|end| again > end) {
                break;
            }
            time::sleep_until(again).await;
            decision = self.decide_now(claims, cost).await?;
        }
        Ok(decision)
    }

    async fn decide_now(&self, claims: &[Claim], cost: u64) -> Result<Decision, Error> {
        if cost == 0 {
            return self.ask(claims, Ask::exactly(0)).await;
        }
        if let Some(decision) = self.remembered(claims, cost) {
            return Ok(decision);
        }
        let asked = self.denials.as_ref().map(|denials| denials.asked());
        if let (Some(batches), [claim], true) = (&self.batches, claims, Batches::suits(claims)) {
            return batches.take(claim, cost, self.denials.clone()).await;
        }
        let decision = self.ask(claims, Ask::exactly(cost)).await?;
        if let (Some(denials), Some(asked)) = (&self.denials, asked) {
            denials.note(claims, cost, asked, &decision);
        }
        Ok(decision)
    }

    /// What would be decided now, by Redis; nothing is used.
    pub(crate) async fn look(&self, claims: &[Claim], cost: u64) -> Result<Decision, Error> {
        let look = true;
        let ask = Ask {
            look,
            ..Ask::exactly(cost)
        };
        self.ask(claims, ask).await
    }

    async fn ask(&self, claims: &[Claim], ask: Ask) -> Result<Decision, Error> {
        let grant: Grant = if claims.len() > 1 && self.redis.is_cluster() {
            cluster::decide(&self.redis, &self.refunds, claims, ask).await?
        } else {
            check::decide(&self.redis, claims, ask).await?
        };
        Ok(grant.decision)
    }

    /// Gives permits back: those that a decision used, or any.
    pub(crate) async fn refund(
        &self,
        claims: &[Claim],
        permits: u64,
        decision: Option<&Decision>,
    ) -> Result<(), Error> {
        let mut standings: &[Standing] = decision.map_or(&[], Decision::standings);
        let _guard = self.refunds.guard(claims);
        if claims.len() == 1 || !self.redis.is_cluster() {
            return call::refund(&self.redis, claims, permits, standings).await;
        }
        for claim in claims {
            let (own, rest) = standings.split_at(claim.policies.len().min(standings.len()));
            standings = rest;
            call::refund(&self.redis, slice::from_ref(claim), permits, own).await?;
        }
        Ok(())
    }

    pub(crate) async fn reset(&self, claim: &Claim) -> Result<(), Error> {
        if let Some(batches) = &self.batches {
            batches.give_back(Some(claim)).await?;
        }
        let _guard = self.refunds.guard(slice::from_ref(claim));
        call::reset(&self.redis, claim).await
    }

    /// Gives back what was taken in advance.
    pub(crate) async fn give_back(&self) -> Result<(), Error> {
        match &self.batches {
            Some(batches) => batches.give_back(None).await,
            None => Ok(()),
        }
    }

    pub(crate) fn remembered(&self, claims: &[Claim], cost: u64) -> Option<Decision> {
        self.denials.as_ref()?.find(claims, cost)
    }

    /// A known denial by one of the claims that no wait makes an admission.
    pub(crate) fn refuses(&self, claims: &[Claim], cost: u64) -> Option<Decision> {
        let known = self.remembered(claims, cost).filter(|_| cost > 0)?;
        let in_time = known
            .retry_after()
            .is_some_and(|wait| wait <= self.max_wait);
        (!in_time).then_some(known)
    }
}

/// How many denials are remembered: a few megabytes.
const DENIALS: usize = 16_384;
