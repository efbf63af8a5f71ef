//! The lease of a place under concurrency policies.

use std::{fmt, sync::Arc, time::Duration};

use tokio::{runtime::Handle, task::AbortHandle, time};

use super::{call, lease_id::LeaseId};
use crate::{rate_limit::quota::claim::Claim, redis::Redis};

/// A request's place in Redis: renewed while the request runs, given back when this is dropped.
pub(crate) struct Lease {
    place: Arc<Place>,
    /// The runtime that it was made on; it may be dropped outside any runtime.
    runtime: Option<Handle>,
    renewal: Option<AbortHandle>,
    given_back: bool,
}

struct Place {
    redis: Redis,
    claims: Box<[Claim]>,
    id: LeaseId,
}

impl Lease {
    /// For the concurrency policies of these claims, before the call that asks for the place. When it is dropped, the
    /// place is given back, also if the call got no reply.
    pub(crate) fn new(redis: &Redis, claims: &[Claim]) -> Self {
        Self {
            place: Arc::new(Place {
                redis: redis.clone(),
                claims: claims.into(),
                id: LeaseId::new(),
            }),
            runtime: Handle::try_current().ok(),
            renewal: None,
            given_back: false,
        }
    }

    pub(crate) fn id(&self) -> &LeaseId {
        &self.place.id
    }

    /// The place was granted: starts a task that renews it.
    pub(crate) fn keep(&mut self) {
        let place = Arc::clone(&self.place);
        let renewal = self
            .runtime
            .as_ref()
            .map(|runtime| runtime.spawn(place.renew()));
        self.renewal = renewal.map(|task| task.abort_handle());
    }

    /// The place was not granted: there is nothing to give back.
    pub(crate) fn forget(mut self) {
        self.given_back = true;
    }
}

impl Place {
    async fn renew(self: Arc<Self>) {
        let limits = self.claims.iter().flat_map(Claim::limits);
        let times = limits.filter_map(|limit| limit.policy.lease_time());
        let pause = times.min().unwrap_or(Duration::MAX) / 3;
        loop {
            time::sleep(pause).await;
            // An error is ignored: two more attempts fit into the lease, and a lost place does not end the request.
            let _ = call::renew(&self.redis, &self.claims, &self.id).await;
        }
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        if let Some(renewal) = &self.renewal {
            renewal.abort();
        }
        if self.given_back {
            return;
        }
        let place = Arc::clone(&self.place);
        if let Some(runtime) = &self.runtime {
            runtime.spawn(async move {
                // If this fails, the place is free when its lease ends.
                let _ = call::leave(&place.redis, &place.claims, &place.id).await;
            });
        }
    }
}

impl fmt::Debug for Lease {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lease").finish_non_exhaustive()
    }
}
