//! A place under a concurrency policy.

use std::{fmt, sync::Arc, time::Duration};

use tokio::{runtime::Handle, task::AbortHandle, time};

use super::{call, lease_id::LeaseId};
use crate::{rate_limit::quota::claim::Claim, redis::Redis};

/// A place that a request has, renewed while it needs it, given back when this is dropped.
pub(crate) struct Lease {
    place: Arc<Place>,
    /// The runtime it was taken on; it may be dropped elsewhere.
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
    /// A place under the concurrency policies of these claims that is about to be asked for. It is given back even if
    /// there is no answer.
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

    /// It was granted: renews it from time to time.
    pub(crate) fn keep(&mut self) {
        let place = Arc::clone(&self.place);
        let renewal = self
            .runtime
            .as_ref()
            .map(|runtime| runtime.spawn(place.renew()));
        self.renewal = renewal.map(|task| task.abort_handle());
    }

    /// It was not granted: there is nothing to give back.
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
            // Without an answer there are two more chances, and then the place is lost: no reason to end the request.
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
                // Without an answer the place is free when its time is over.
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
