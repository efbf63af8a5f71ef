//! Refunds: permits that are given back, which end known denials.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicU64, Ordering},
};

use crate::{
    rate_limit::{quota::claim::Claim, subject::identity::Identity},
    redis::Redis,
};

/// The refunds of all layers and limiters of one handle, numbered in their order.
#[derive(Debug)]
pub(crate) struct Refunds {
    count: AtomicU64,
    /// The last refund of each bucket of subjects. A refund also ends the denials of other subjects in its bucket.
    last: [AtomicU64; BUCKETS],
    are_expected: AtomicBool,
}

impl Refunds {
    pub(crate) fn of(redis: &Redis) -> Arc<Self> {
        redis.shared(|| Self {
            count: AtomicU64::new(0),
            last: [const { AtomicU64::new(0) }; BUCKETS],
            are_expected: AtomicBool::new(false),
        })
    }

    /// The number of refunds so far.
    pub(crate) fn count(&self) -> u64 {
        self.count.load(Ordering::SeqCst)
    }

    /// Whether the subject had a refund after the refund with the number `after`.
    pub(crate) fn happened_since(&self, subject: Identity, after: u64) -> bool {
        self.last(subject).load(Ordering::SeqCst) > after
    }

    /// Counts when it is dropped, for while a command gives permits of these subjects back.
    pub(crate) fn guard<'a>(&'a self, claims: &'a [Claim]) -> RefundGuard<'a> {
        let refunds = self;
        RefundGuard { refunds, claims }
    }

    /// Permits of these subjects are back in Redis.
    fn add(&self, claims: &[Claim]) {
        self.expect();
        for claim in claims {
            let number = self.count.fetch_add(1, Ordering::SeqCst) + 1;
            self.last(claim.identity)
                .fetch_max(number, Ordering::SeqCst);
        }
    }

    /// Permits may come back, here and in other processes.
    pub(crate) fn expect(&self) {
        // Read before writing: all requests share it.
        if !self.are_expected() {
            self.are_expected.store(true, Ordering::SeqCst);
        }
    }

    pub(crate) fn are_expected(&self) -> bool {
        self.are_expected.load(Ordering::SeqCst)
    }

    fn last(&self, subject: Identity) -> &AtomicU64 {
        &self.last[usize::from(subject.first_byte()) % BUCKETS]
    }
}

/// Says that the permits of some subjects are back when it is dropped, however the command ends that gives them back.
#[derive(Debug)]
pub(crate) struct RefundGuard<'a> {
    refunds: &'a Refunds,
    claims: &'a [Claim],
}

impl Drop for RefundGuard<'_> {
    fn drop(&mut self) {
        self.refunds.add(self.claims);
    }
}

const BUCKETS: usize = 256;
