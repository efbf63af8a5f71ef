//! What a layer does, whoever the request is from.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use tokio::time::Instant;

use super::{
    decision::Decision, headers::Fields, identity::Identity, limiter::RateLimiter, local::Local,
};
use crate::error::Error;

/// The settings of a layer, and the state that all its services share.
#[derive(Clone, Debug)]
pub(super) struct Config {
    pub(super) limiter: RateLimiter,
    pub(super) fields: Fields,
    pub(super) missing_key: MissingKey,
    pub(super) failure: Failure,
    shared: Arc<Shared>,
}

/// What happens to a request without a key.
#[derive(Clone, Copy, Debug)]
pub(super) enum MissingKey {
    Share,
    Allow,
    Deny,
}

/// What happens to a request when Redis fails.
#[derive(Clone, Copy, Debug)]
pub(super) enum Failure {
    Local,
    Open,
    Closed,
}

/// What to do with a request.
#[derive(Debug)]
pub(super) enum Verdict {
    /// A decision, of Redis or of this process.
    Decided(Decision),
    /// Let it pass, uncounted.
    Pass,
    /// It lacks a key.
    NoKey,
    /// There is no telling.
    Unavailable,
}

#[derive(Debug)]
struct Shared {
    local: Local,
    started: Instant,
    failing: AtomicBool,
    key_was_missing: AtomicBool,
}

impl Config {
    pub(super) fn new(limiter: RateLimiter) -> Self {
        Self {
            fields: Fields::new(limiter.policy(), limiter.quota()),
            limiter,
            missing_key: MissingKey::Share,
            failure: Failure::Local,
            shared: Arc::new(Shared {
                local: Local::new(LOCAL_SUBJECTS),
                started: Instant::now(),
                failing: AtomicBool::new(false),
                key_was_missing: AtomicBool::new(false),
            }),
        }
    }

    /// Logs once that a request came without a key.
    pub(super) fn note_missing_key(&self, needs: &str) {
        if self.shared.key_was_missing.swap(true, Ordering::Relaxed) {
            return;
        }
        tracing::warn!(
            target: "tower_fred::rate_limit",
            policy = self.limiter.policy(),
            needs,
            then = ?self.missing_key,
            "a request has no rate limit key"
        );
    }

    pub(super) async fn decide(&self, identity: Option<Identity>) -> Verdict {
        let identity = match (identity, self.missing_key) {
            (Some(identity), _) => identity,
            (None, MissingKey::Share) => Identity::nobody(),
            (None, MissingKey::Allow) => return Verdict::Pass,
            (None, MissingKey::Deny) => return Verdict::NoKey,
        };
        let decided = self.limiter.check(identity).await;
        self.note_failure(decided.as_ref().err());
        match (decided, self.failure) {
            (Ok(decision), _) => Verdict::Decided(decision),
            (Err(_), Failure::Local) => Verdict::Decided(self.decide_locally(identity)),
            (Err(_), Failure::Open) => Verdict::Pass,
            (Err(_), Failure::Closed) => Verdict::Unavailable,
        }
    }

    fn decide_locally(&self, identity: Identity) -> Decision {
        let now = self.shared.started.elapsed().as_micros();
        let now = u64::try_from(now).unwrap_or(u64::MAX);
        let rate = self.limiter.rate();
        let outcome = self.shared.local.decide(rate, identity, now, 1);
        self.limiter.decision(outcome, 1)
    }

    /// Logs the first failure after a success.
    fn note_failure(&self, error: Option<&Error>) {
        let failing = &self.shared.failing;
        match error {
            Some(error) if !failing.swap(true, Ordering::Relaxed) => tracing::warn!(
                target: "tower_fred::rate_limit",
                policy = self.limiter.policy(),
                then = ?self.failure,
                %error,
                "cannot ask redis about a rate limit"
            ),
            // Read before writing: all requests share the flag, and it is hardly ever set.
            None if failing.load(Ordering::Relaxed) => failing.store(false, Ordering::Relaxed),
            _ => {}
        }
    }
}

/// How many subjects are limited within the process while Redis fails: a few megabytes.
const LOCAL_SUBJECTS: usize = 65_536;
