//! Several subjects whose keys are on different servers of a cluster.

use std::{
    future::{self, Future},
    pin::{Pin, pin},
    slice,
    task::Poll,
};

use super::{
    call::{self, Ask, Claim, Grant},
    decision::Decision,
};
use crate::{error::Error, redis::Redis};

/// Decides with a call for each subject, all at once. What some admit and others do not is given back, so a denial counts
/// for nobody in the end.
pub(super) async fn decide(redis: &Redis, claims: &[Claim], ask: Ask) -> Result<Grant, Error> {
    let calls = claims
        .iter()
        .map(|claim| call::decide(redis, slice::from_ref(claim), ask));
    let answers = all(calls.collect()).await;
    let admits =
        |answer: &Result<Grant, Error>| matches!(answer, Ok(grant) if grant.decision.is_allowed());
    let admitted = answers.iter().all(admits);
    if !admitted {
        let refunds = claims.iter().zip(&answers).filter_map(|(claim, answer)| {
            let standings = answer.as_ref().ok()?.decision.standings();
            let charged = ask.most > 0 && !ask.look && admits(answer);
            charged.then(|| call::refund(redis, slice::from_ref(claim), ask.most, standings))
        });
        // What cannot be given back now is back when its time is over.
        all(refunds.collect()).await;
    }
    let (mut standings, mut places) = (Vec::new(), Vec::new());
    for answer in answers {
        let mut decision = answer?.decision;
        standings.extend_from_slice(decision.standings());
        places.append(&mut decision.take_places());
    }
    let decision = Decision::new(admitted, standings).holding(places);
    let permits = if admitted { ask.most } else { 0 };
    Ok(Grant { decision, permits })
}

/// Runs futures side by side and gives what all of them gave, in their order.
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
