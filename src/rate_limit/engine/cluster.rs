//! Decides for subjects whose keys are on several cluster servers.

use std::{
    future::{self, Future},
    pin::{Pin, pin},
    slice,
    sync::Arc,
    task::Poll,
};

use tokio::runtime::Handle;

use super::refunds::Refunds;
use crate::{
    error::{Error, Kind},
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

/// A request with several subjects.
struct Check {
    redis: Redis,
    refunds: Arc<Refunds>,
    claims: Box<[Claim]>,
    ask: Ask,
}

/// A grant. It is refunded on drop unless the caller takes it.
struct Untaken {
    grant: Grant,
    refund: Refund,
}

/// Refunds when it is dropped.
struct Refund {
    of: Option<(Arc<Check>, Charged)>,
    runtime: Handle,
}

/// What each subject was charged, if anything.
type Charged = Vec<Option<Vec<Standing>>>;

/// Sends one call for each subject, all concurrently. If a call denies or fails, the permits charged by the others are
/// refunded. An admission is also refunded if the caller was dropped meanwhile.
pub(crate) async fn decide(
    redis: &Redis,
    refunds: &Arc<Refunds>,
    claims: &[Claim],
    ask: Ask,
) -> Result<Grant, Error> {
    refunds.expect();
    let check = Check {
        redis: redis.clone(),
        refunds: Arc::clone(refunds),
        claims: claims.into(),
        ask,
    };
    // A separate task: it continues if the caller is dropped.
    let deciding = tokio::spawn(Arc::new(check).decide());
    let ended =
        |error| Error::new(Kind::Unavailable, "the runtime is shutting down").caused_by(error);
    deciding.await.map_err(ended)?.map(Untaken::take)
}

impl Check {
    async fn decide(self: Arc<Self>) -> Result<Untaken, Error> {
        let budget = self.redis.budget();
        let calls = self
            .claims
            .iter()
            .map(|claim| check::decide(&self.redis, slice::from_ref(claim), self.ask));
        let answers = all(calls.collect()).await;
        let charged = |answer: &Result<Grant, Error>| {
            let decision = &answer.as_ref().ok()?.decision;
            decision.is_allowed().then(|| decision.standings().to_vec())
        };
        let charged: Charged = answers.iter().map(charged).collect();
        let admitted = charged.iter().all(Option::is_some);
        if !admitted {
            // Who is denied may come again at once. But the refund is no reason to wait for a second deadline.
            let (check, charged) = (Arc::clone(&self), charged.clone());
            let refunding = tokio::spawn(async move { check.give_back(&charged).await });
            let _ = budget.limit(async { Ok(refunding.await) }).await;
        }
        let (mut standings, mut places) = (Vec::new(), Vec::new());
        for answer in answers {
            let mut decision = answer?.decision;
            standings.extend_from_slice(decision.standings());
            places.append(&mut decision.take_places());
        }
        let decision = Decision::new(admitted, standings).holding(places);
        let permits = if admitted { self.ask.most } else { 0 };
        Ok(Untaken {
            grant: Grant { decision, permits },
            refund: Refund {
                of: admitted.then_some((self, charged)),
                runtime: Handle::current(),
            },
        })
    }

    /// Refunds the permits charged to these subjects. If a refund fails, its permits come back as they expire.
    async fn give_back(&self, charged: &[Option<Vec<Standing>>]) {
        if self.ask.most == 0 || self.ask.look {
            return;
        }
        let refunds = self
            .claims
            .iter()
            .zip(charged)
            .filter_map(|(claim, standings)| {
                let (standings, claims) = (standings.as_ref()?, slice::from_ref(claim));
                Some(async move {
                    let _guard = self.refunds.guard(claims);
                    call::refund(&self.redis, claims, self.ask.most, standings).await
                })
            });
        all(refunds.collect()).await;
    }
}

impl Untaken {
    fn take(self) -> Grant {
        let Self { grant, mut refund } = self;
        refund.of = None;
        grant
    }
}

impl Drop for Refund {
    fn drop(&mut self) {
        if let Some((check, admissions)) = self.of.take() {
            let refund = async move { check.give_back(&admissions).await };
            self.runtime.spawn(refund);
        }
    }
}

/// Runs futures concurrently and returns their outputs in the same order.
async fn all<F: Future>(futures: Vec<F>) -> Vec<F::Output> {
    let mut running: Vec<Pin<Box<F>>> = futures.into_iter().map(Box::pin).collect();
    let mut outputs: Vec<Option<F::Output>> = running.iter().map(|_| None).collect();
    let every = future::poll_fn(|context| {
        for (future, output) in running.iter_mut().zip(&mut outputs) {
            if output.is_none() {
                if let Poll::Ready(value) = future.as_mut().poll(context) {
                    *output = Some(value);
                }
            }
        }
        match outputs.iter().all(Option::is_some) {
            true => Poll::Ready(()),
            false => Poll::Pending,
        }
    });
    pin!(every).await;
    outputs.into_iter().flatten().collect()
}
