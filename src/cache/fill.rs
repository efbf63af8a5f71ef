//! Writing an answer to Redis once its body is complete.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, response};
use tokio::runtime::Handle;

use super::{config::Shared, fields, freshness::Times, key::Key, policy::Verdict, vary};
use crate::{
    error::Error,
    personal::Personal,
    store::{Head, KeyBuilder, Remote, Seq, Slot, Variants, Writer},
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
    pub(crate) key: &'a Key,
    pub(crate) request: &'a HeaderMap,
    pub(crate) variants: Option<&'a Variants>,
    pub(crate) times: Times,
    pub(crate) personal: &'a Personal,
}

impl Fill {
    /// `None` if the answer's fields do not fit, there are too many variants of it, or there is no randomness.
    pub(crate) fn new(
        shared: &Shared,
        context: Context<'_>,
        answer: &response::Parts,
        verdict: &Verdict,
    ) -> Option<Self> {
        let received = context.times.received_seconds();
        let personal = context.personal.clone();
        let head = Head {
            status: answer.status,
            headers: fields::stored(&answer.headers, &verdict.withheld, received),
            life: verdict.life.clone(),
        };
        let ttl = head.life.ttl()?.min(LONGEST);
        let place = Place::find(shared, context, verdict)?;
        let writer = Writer::response(&head, place.slot().digest())?;
        Some(Self {
            remote: shared.remote.clone(),
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
    fn find(shared: &Shared, context: Context<'_>, verdict: &Verdict) -> Option<Self> {
        let Context {
            key,
            request,
            variants,
            ..
        } = context;
        let (remote, resource) = (&shared.remote, &key.resource);
        let primary = remote.primary(resource);
        if verdict.vary.is_empty() && key.policy.is_none() {
            return Some(Self::Primary(primary));
        }
        let known = variants.filter(|known| known.names == verdict.vary);
        let (variants, is_new) = match known {
            Some(known) => (known.clone(), false),
            None => (Variants::of(verdict)?, true),
        };
        let variant = vary::variant(
            resource,
            key.policy.as_ref(),
            &variants.generation,
            &variants.names,
            request,
        );
        let group = KeyBuilder::new("group")
            .part(resource.as_bytes())
            .optional(key.policy.as_ref().map(|digest| &digest.as_bytes()[..]))
            .part(&variants.generation)
            .finish();
        if !shared.memory.admits(group, variant) {
            tracing::debug!(target: "tower_fred::cache", "too many variants");
            return None;
        }
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
