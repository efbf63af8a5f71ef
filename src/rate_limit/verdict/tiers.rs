//! Policies that depend on who asks.

use std::{
    fmt,
    future::Future,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use http::request::Parts;
use tokio::time::Instant;

use crate::rate_limit::{
    engine::bounded_map::BoundedMap, quota::policies::Policies, subject::identity::Identity,
};

/// Says which policies a request is held to; `None` for those of the layer.
#[derive(Clone)]
pub(crate) enum Tiers {
    Direct(Arc<Choose>),
    Found(Arc<Finder>),
}

/// Says it at once.
pub(crate) type Choose = dyn Fn(&Parts) -> Option<Policies> + Send + Sync;

/// Finds the policies of a subject somewhere else, and keeps them for a while.
pub(crate) struct Finder {
    find: Box<dyn Fn(&Parts) -> Search + Send + Sync>,
    keep: Duration,
    known: Mutex<BoundedMap<Identity, Known>>,
}

type Known = (Instant, Option<Policies>);

pub(crate) type Search = Pin<Box<dyn Future<Output = Option<Policies>> + Send>>;

/// Policies, now or later.
pub(crate) enum Choice {
    Made(Option<Policies>),
    Open(Search, Arc<Finder>),
}

impl Tiers {
    pub(crate) fn found<F>(
        keep: Duration,
        find: impl Fn(&Parts) -> F + Send + Sync + 'static,
    ) -> Self
    where
        F: Future<Output = Option<Policies>> + Send + 'static,
    {
        Self::Found(Arc::new(Finder {
            find: Box::new(move |request| Box::pin(find(request))),
            keep,
            known: Mutex::new(BoundedMap::new(SUBJECTS)),
        }))
    }

    /// Chooses for a request, whose subject may not be known yet.
    pub(crate) fn choose(&self, request: &Parts, subject: Option<Identity>) -> Choice {
        match self {
            Self::Direct(choose) => Choice::Made(choose(request)),
            Self::Found(finder) => match subject.and_then(|subject| finder.known(subject)) {
                Some(known) => Choice::Made(known),
                None => Choice::Open((finder.find)(request), Arc::clone(finder)),
            },
        }
    }
}

impl Choice {
    pub(crate) async fn made(self, subject: Identity) -> Option<Policies> {
        match self {
            Self::Made(policies) => policies,
            Self::Open(search, finder) => {
                if let Some(known) = finder.known(subject) {
                    return known;
                }
                let found = search.await;
                finder.keep(subject, found.clone());
                found
            }
        }
    }
}

impl Finder {
    fn known(&self, subject: Identity) -> Option<Option<Policies>> {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let (since, policies) = known.get(&subject)?;
        (since.elapsed() < self.keep).then(|| policies.clone())
    }

    fn keep(&self, subject: Identity, policies: Option<Policies>) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.insert(subject, (Instant::now(), policies));
    }
}

impl fmt::Debug for Tiers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Direct(_) => "Direct",
            Self::Found(_) => "Found",
        })
    }
}

impl fmt::Debug for Choice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Choice")
    }
}

/// How many subjects' policies are kept at most.
const SUBJECTS: usize = 16_384;
