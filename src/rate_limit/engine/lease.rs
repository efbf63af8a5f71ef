//! A place under a concurrency policy.

use std::{
    collections::hash_map::RandomState,
    fmt,
    hash::{BuildHasher, Hasher},
    process,
    sync::{
        Arc, LazyLock,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, SystemTime},
};

use tokio::{runtime::Handle, task::AbortHandle, time};

use super::call::{self, Ask, Grant};
use crate::{
    error::Error,
    rate_limit::{decision::place::Place, quota::claim::Claim},
    redis::Redis,
};

/// Decides in one call, and takes a place under the concurrency policies of these claims, if they have any. The keys of the
/// claims must be on one server.
pub(crate) async fn decide(redis: &Redis, claims: &[Claim], ask: Ask) -> Result<Grant, Error> {
    let limits = claims.iter().flat_map(Claim::limits);
    let mut lease_times = limits.filter_map(|limit| limit.policy.lease_time());
    let takes_place = ask.most > 0 && !ask.look && lease_times.next().is_some();
    // Made before it is asked for: a place of a caller that goes away meanwhile is given back too.
    let lease = takes_place.then(|| Lease::new(redis, claims));
    let grant = call::decide(redis, claims, ask, lease.as_ref().map(Lease::id)).await?;
    match lease {
        Some(mut lease) if grant.decision.is_allowed() => {
            lease.keep();
            let decision = grant.decision.holding(vec![Arc::new(lease)]);
            Ok(Grant { decision, ..grant })
        }
        Some(lease) => {
            lease.forget();
            Ok(grant)
        }
        None => Ok(grant),
    }
}

/// A place that a request has, renewed while it needs it, given back when this is dropped.
struct Lease {
    held: Arc<Held>,
    /// The runtime it was taken on; it may be dropped elsewhere.
    runtime: Option<Handle>,
    renewal: Option<AbortHandle>,
    given_back: bool,
}

struct Held {
    redis: Redis,
    claims: Box<[Claim]>,
    /// Nobody else is called that, in any process.
    id: Box<str>,
}

impl Lease {
    /// A place under the concurrency policies of these claims that is about to be asked for. It is given back even if
    /// there is no answer.
    fn new(redis: &Redis, claims: &[Claim]) -> Self {
        Self {
            held: Arc::new(Held {
                redis: redis.clone(),
                claims: claims.into(),
                id: next_id(),
            }),
            runtime: Handle::try_current().ok(),
            renewal: None,
            given_back: false,
        }
    }

    fn id(&self) -> &str {
        &self.held.id
    }

    /// It was granted: renews it from time to time.
    fn keep(&mut self) {
        let held = Arc::clone(&self.held);
        let renewal = self
            .runtime
            .as_ref()
            .map(|runtime| runtime.spawn(held.renew()));
        self.renewal = renewal.map(|task| task.abort_handle());
    }

    /// It was not granted: there is nothing to give back.
    fn forget(mut self) {
        self.given_back = true;
    }
}

impl Held {
    async fn renew(self: Arc<Self>) {
        let limits = self.claims.iter().flat_map(Claim::limits);
        let times = limits.filter_map(|limit| limit.policy.lease_time());
        let pause = times.min().unwrap_or(Duration::MAX) / 3;
        loop {
            time::sleep(pause).await;
            // Without an answer there are two more chances, and then the place is lost: no reason to end the request.
            let _ = call::renew(&self.redis, &self.claims, &self.id).await;
        }
    }
}

impl Place for Lease {}

impl Drop for Lease {
    fn drop(&mut self) {
        if let Some(renewal) = &self.renewal {
            renewal.abort();
        }
        if self.given_back {
            return;
        }
        let held = Arc::clone(&self.held);
        if let Some(runtime) = &self.runtime {
            runtime.spawn(async move {
                // Without an answer the place is free when its time is over.
                let _ = call::leave(&held.redis, &held.claims, &held.id).await;
            });
        }
    }
}

impl fmt::Debug for Lease {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lease").finish_non_exhaustive()
    }
}

fn next_id() -> Box<str> {
    static PROCESS: LazyLock<String> = LazyLock::new(name_of_process);
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    format!("{}{number:x}", *PROCESS).into()
}

/// Not a secret, only different from that of any other process.
fn name_of_process() -> String {
    let mut hasher = RandomState::new().build_hasher();
    hasher.write_u32(process::id());
    let now = SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default();
    hasher.write_u128(now.as_nanos());
    format!("{:016x}:", hasher.finish())
}
