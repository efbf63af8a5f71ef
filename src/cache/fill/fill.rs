//! Writing an answer into the cache once it is complete.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, response};
use tokio::runtime::Handle;

use crate::{
    cache::{
        rfc::{freshness::Times, stored_fields, vary},
        rules::storing::Verdict,
        state::{lookup::Place, shared::Shared},
    },
    personal::Personal,
    store::{
        Digest, Head, Key, KeyBuilder, Lead, Seen, Seq, Slot, Store, Turn, Variants, Writer,
        unix_millis,
    },
};

/// An answer on its way into the cache.
#[derive(Debug)]
pub(crate) struct Fill {
    lead: Lead,
    writer: Writer,
    ttl: Duration,
    compress_above: Option<usize>,
    personal: Personal,
    /// The list of fields that leads to it, to be kept as long as it is.
    list: Option<(Store, Slot)>,
}

/// What an answer is stored under.
#[derive(Debug)]
pub(crate) struct Context<'a> {
    pub(crate) key: &'a Key,
    pub(crate) request: &'a HeaderMap,
    pub(crate) place: &'a Place,
    pub(crate) times: Times,
    pub(crate) personal: &'a Personal,
}

impl Fill {
    /// If it cannot be stored, the error says why, in a word of the table at [`CacheStatus`](crate::cache::CacheStatus).
    pub(crate) async fn begin(
        shared: &Shared,
        context: Context<'_>,
        lead: Lead,
        answer: &response::Parts,
        verdict: &Verdict,
    ) -> Result<Self, &'static str> {
        let received = context.times.received_seconds();
        let personal = context.personal.clone();
        let mut life = verdict.life.clone();
        // Of when the handler was asked, wherever the answer goes.
        life.seq = lead.seq();
        let Some(ttl) = life.ttl() else {
            // Not worth keeping, nor would the next one be.
            lead.uncacheable();
            return Err("expired");
        };
        let ttl = ttl.min(LONGEST);
        let head = Head {
            status: answer.status,
            headers: stored_fields::stored(&answer.headers, &verdict.withheld, received),
            life,
        };
        let Seat { lead, slot, list } = Seat::find(shared, &context, lead, verdict, ttl).await?;
        Ok(Self {
            writer: Writer::response(&head, slot.digest()).ok_or("fields")?,
            lead,
            ttl,
            compress_above: shared.config.compress_above,
            personal,
            list: list.map(|list| (shared.store.clone(), list)),
        })
    }

    pub(crate) fn push(&mut self, bytes: &[u8]) {
        self.lead.progress();
        self.writer.push(bytes);
    }

    /// What of the body was pushed.
    pub(crate) fn body(&self) -> &[u8] {
        self.writer.body()
    }

    /// Notes that the answer's making goes on.
    pub(crate) fn progress(&self) {
        self.lead.progress();
    }

    /// Stores the answer in the background: the client does not wait for it.
    pub(crate) fn finish(mut self) -> Finished {
        // A streamed body may have used the session after the head was made.
        if self.personal.is_set() {
            let body = self.refuse();
            return Finished {
                body,
                is_stored: false,
            };
        }
        if let (Some((store, list)), Ok(runtime)) = (self.list.take(), Handle::try_current()) {
            let ttl = self.ttl;
            runtime.spawn(async move {
                if let Err(error) = store.remote().keep(&list, ttl).await {
                    tracing::debug!(target: "tower_fred::cache", %error, "a list of fields may end early");
                }
            });
        }
        let is_stored = self.lead.can_store();
        let (blob, body) = self.writer.finish_both(self.compress_above);
        self.lead.fill(blob, self.ttl);
        Finished { body, is_stored }
    }

    /// It is not to be stored after all, nor would be another one. Returns what of the body was pushed.
    pub(crate) fn refuse(self) -> Bytes {
        self.lead.uncacheable();
        self.writer.into_body()
    }

    /// It broke: perhaps it can be made again, by whoever waits. Returns what of the body was pushed.
    pub(crate) fn discard(self) -> Bytes {
        self.writer.into_body()
    }
}

/// What became of a complete answer.
pub(crate) struct Finished {
    pub(crate) body: Bytes,
    /// Whether the store took it, as far as that is known before Redis has answered.
    pub(crate) is_stored: bool,
}

/// Where an answer goes, and the right to put it there.
struct Seat {
    lead: Lead,
    slot: Slot,
    list: Option<Slot>,
}

impl Seat {
    /// `lead` is for the slot that was looked in. What the answer says it depends on may lead to another one.
    async fn find(
        shared: &Shared,
        context: &Context<'_>,
        lead: Lead,
        verdict: &Verdict,
        ttl: Duration,
    ) -> Result<Self, &'static str> {
        let (store, key, place) = (&shared.store, context.key, context.place);
        let primary = store.remote().primary(key);
        let known = place.variants.as_ref();
        if known.is_none() && verdict.vary.is_empty() {
            return Ok(Self {
                lead,
                slot: primary,
                list: None,
            });
        }
        // To be kept apart by more than it needs does an answer no harm, and the others stay.
        let covers = |known: &&Variants| verdict.vary.iter().all(|name| known.names.contains(name));
        if let Some(known) = known.filter(covers) {
            let Some(variant) = admit(shared, context, known, ttl) else {
                lead.uncacheable();
                return Err(TOO_MANY);
            };
            return Ok(Self {
                lead,
                slot: store.remote().variant(key, variant),
                list: Some(primary),
            });
        }
        let variants = Variants::of(verdict, known, lead.seq()).ok_or("no-randomness")?;
        let Some(variant) = admit(shared, context, &variants, ttl) else {
            lead.uncacheable();
            return Err(TOO_MANY);
        };
        let slot = store.remote().variant(key, variant);
        // Nobody else knows of it yet; from when they do, they wait for it.
        let Turn::Lead(own) = Box::pin(store.begin(&slot, Some(Seen::Nothing))).await else {
            return Err("stored-meanwhile");
        };
        let list = match place.variants {
            None => lead,
            Some(_) => store.aside(&primary, place.primary_seen.clone()),
        };
        list.fill(variants.encode(primary.digest()), ttl);
        Ok(Self {
            lead: own,
            slot,
            list: None,
        })
    }
}

/// Names the variant for a request, unless there are too many already.
fn admit(
    shared: &Shared,
    context: &Context<'_>,
    variants: &Variants,
    ttl: Duration,
) -> Option<Digest> {
    let Context { key, request, .. } = context;
    let variant = vary::variant(
        &key.resource,
        &variants.generation,
        &variants.names,
        request,
    );
    let group = KeyBuilder::new("group")
        .part(key.resource.as_bytes())
        .part(&variants.generation)
        .finish();
    if shared.memory.admits(group, variant, unix_millis(), ttl) {
        return Some(variant);
    }
    tracing::debug!(target: "tower_fred::cache", "too many variants");
    None
}

impl Variants {
    /// A new generation, which shares no key with any other. It has the names of the one before it too: handlers that name
    /// now these and now those fields would else begin one each time.
    fn of(verdict: &Verdict, before: Option<&Self>, seq: Seq) -> Option<Self> {
        let mut generation = [0; 16];
        getrandom::fill(&mut generation).ok()?;
        let before = before.map_or(&[][..], |before| &before.names);
        let mut names = vary::sorted([before, &verdict.vary].concat());
        if names.len() > MOST_NAMES {
            names.clone_from(&verdict.vary);
        }
        Some(Self {
            generation,
            names,
            seq,
        })
    }
}

const TOO_MANY: &str = "too-many-variants";
/// How many fields answers may name in turn.
const MOST_NAMES: usize = 16;
/// No entry stays longer, however long it would be fresh.
const LONGEST: Duration = Duration::from_secs(24 * 60 * 60);
