//! Writing an answer to Redis once its body is complete.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, response};
use tokio::runtime::Handle;

use super::{fields, freshness::Times, policy::Verdict, vary};
use crate::{
    error::Error,
    personal::Personal,
    store::{Digest, Head, Life, Remote, Seq, Slot, Variants, Writer},
};

/// An answer on its way into the cache.
#[derive(Debug)]
pub(crate) struct Fill {
    remote: Remote,
    place: Place,
    ttl: Duration,
    writer: Writer,
    personal: Personal,
}

/// Where it goes.
#[derive(Debug)]
enum Place {
    Primary(Slot),
    Variant {
        slot: Slot,
        primary: Slot,
        /// To be written to the primary slot; `None` if that is there already.
        variants: Option<Bytes>,
    },
}

/// What an answer is stored under.
#[derive(Debug)]
pub(crate) struct Context<'a> {
    pub(crate) resource: &'a Digest,
    pub(crate) request: &'a HeaderMap,
    pub(crate) variants: Option<Variants>,
    pub(crate) times: Times,
    pub(crate) personal: Personal,
}

impl Fill {
    /// `None` if the answer's fields do not fit, or there is no randomness.
    pub(crate) fn new(
        remote: &Remote,
        context: Context<'_>,
        answer: &response::Parts,
        verdict: &Verdict,
    ) -> Option<Self> {
        let times = context.times;
        let personal = context.personal.clone();
        let head = Head {
            status: answer.status,
            headers: fields::stored(&answer.headers, &verdict.withheld, times.received_seconds()),
            life: Life {
                born_ms: times.received_ms,
                lifetime_ms: verdict.lifetime_ms,
                initial_age_ms: verdict.initial_age_ms,
                ..Life::default()
            },
        };
        let ttl = head.life.ttl()?.min(LONGEST);
        let place = Place::find(remote, context, verdict)?;
        let writer = Writer::response(&head, place.slot().digest())?;
        Some(Self {
            remote: remote.clone(),
            place,
            ttl,
            writer,
            personal,
        })
    }

    pub(crate) fn push(&mut self, bytes: &[u8]) {
        self.writer.push(bytes);
    }

    /// How much of the body was pushed.
    pub(crate) fn len(&self) -> usize {
        self.writer.body_len()
    }

    /// Stores the answer in the background: the client does not wait for it.
    pub(crate) fn finish(self) {
        // A streamed body may have used the session after the head was made.
        if self.personal.is_set() {
            return;
        }
        if let Ok(runtime) = Handle::try_current() {
            runtime.spawn(async move {
                if let Err(error) = self.store().await {
                    tracing::debug!(target: "tower_fred::cache", %error, "a response was not stored");
                }
            });
        }
    }

    async fn store(self) -> Result<(), Error> {
        let (remote, ttl) = (self.remote, self.ttl);
        let blob = self.writer.finish();
        match self.place {
            Place::Primary(slot) => remote.set(&slot, blob, ttl).await,
            Place::Variant {
                slot,
                primary,
                variants,
            } => {
                // The variant first: who finds the list finds it too.
                remote.set(&slot, blob, ttl).await?;
                match variants {
                    Some(list) => remote.set(&primary, list, ttl).await,
                    // Not written again: after a purge that would bring back all the other variants.
                    None => remote.keep(&primary, ttl).await,
                }
            }
        }
    }
}

impl Place {
    fn find(remote: &Remote, context: Context<'_>, verdict: &Verdict) -> Option<Self> {
        let Context {
            resource,
            request,
            variants,
            ..
        } = context;
        let primary = remote.primary(resource);
        if verdict.vary.is_empty() {
            return Some(Self::Primary(primary));
        }
        let known = variants.filter(|known| known.names == verdict.vary);
        let (variants, is_new) = match known {
            Some(known) => (known, false),
            None => (Variants::of(verdict)?, true),
        };
        let variant = vary::variant(resource, &variants.generation, &variants.names, request);
        Some(Self::Variant {
            slot: remote.variant(resource, variant),
            variants: is_new.then(|| variants.encode(primary.digest())),
            primary,
        })
    }

    fn slot(&self) -> &Slot {
        match self {
            Self::Primary(slot) | Self::Variant { slot, .. } => slot,
        }
    }
}

impl Variants {
    /// A new generation, which shares no key with any other.
    fn of(verdict: &Verdict) -> Option<Self> {
        let mut generation = [0; 16];
        getrandom::fill(&mut generation).ok()?;
        Some(Self {
            generation,
            names: verdict.vary.clone(),
            seq: Seq::default(),
        })
    }
}

/// No entry stays longer, however long it would be fresh.
const LONGEST: Duration = Duration::from_secs(24 * 60 * 60);
