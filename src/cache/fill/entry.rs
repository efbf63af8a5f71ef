//! An entry of the store while it is being written: it is stored when the response is complete.

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

/// An answer that is being copied into the cache.
#[derive(Debug)]
pub(crate) struct Fill {
    lead: Lead,
    writer: Writer,
    ttl: Duration,
    compress_above: Option<usize>,
    personal: Personal,
    /// The slot of the list of `Vary` fields, which has to live as long as this variant.
    list: Option<(Store, Slot)>,
}

/// What the key and the dates of an entry are made of.
#[derive(Debug)]
pub(crate) struct Context<'a> {
    pub(crate) key: &'a Key,
    pub(crate) request: &'a HeaderMap,
    pub(crate) place: &'a Place,
    pub(crate) times: Times,
    pub(crate) personal: &'a Personal,
}

impl Fill {
    /// Begins an entry. If the answer cannot be stored, the error is a word of the table at
    /// [`CacheStatus`](crate::cache::CacheStatus).
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
        // The place in the purge log at which the handler was asked, whichever slot the answer is stored in.
        life.seq = lead.seq();
        let Some(ttl) = life.ttl() else {
            // It would expire at once, and so would the next answer.
            lead.uncacheable();
            return Err("expired");
        };
        let ttl = ttl.min(LONGEST);
        let head = Head {
            status: answer.status,
            headers: stored_fields::stored(&answer.headers, &verdict.withheld, received),
            life,
        };
        let Destination { lead, slot, list } =
            Destination::find(shared, &context, lead, verdict, ttl).await?;
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

    /// The part of the body that was pushed.
    pub(crate) fn body(&self) -> &[u8] {
        self.writer.body()
    }

    /// Tells the waiting requests that the handler makes progress.
    pub(crate) fn progress(&self) {
        self.lead.progress();
    }

    /// Stores the answer in the background: the client does not wait for it.
    pub(crate) fn finish(mut self) -> Finished {
        // The handler may have used the session while it streamed the body.
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

    /// The answer cannot be stored, and the next ones probably cannot either: nobody waits for them. Returns the pushed part
    /// of the body.
    pub(crate) fn refuse(self) -> Bytes {
        self.lead.uncacheable();
        self.writer.into_body()
    }

    /// The body failed: a waiting request asks the handler again. Returns the pushed part of the body.
    pub(crate) fn discard(self) -> Bytes {
        self.writer.into_body()
    }
}

/// The result of a complete answer.
pub(crate) struct Finished {
    pub(crate) body: Bytes,
    /// Whether it is stored, as far as that is known before Redis has replied.
    pub(crate) is_stored: bool,
}

/// The slot in which an answer is stored, and the lead that permits it.
struct Destination {
    lead: Lead,
    slot: Slot,
    list: Option<Slot>,
}

impl Destination {
    /// `lead` is for the slot of the lookup. The answer's `Vary` may lead to another slot.
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
        // The known list may have more fields than this answer needs; it stays, and so do the other variants.
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
        // Other requests find this slot when the list is written below; then they wait for this lead.
        let mut budget = store.budget();
        let begun = store.begin(&slot, Some(Seen::Nothing), &mut budget);
        let Turn::Lead(own) = Box::pin(begun).await else {
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

/// The digest of the variant for a request; `None` if this process has stored too many variants already.
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
    /// A new list of `Vary` fields. Its random generation keeps its keys apart from those of earlier lists. It keeps the names
    /// of the list before: a handler that alternates between two `Vary` values would otherwise start a new list each time.
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
/// A longer list drops the names of the list before.
const MOST_NAMES: usize = 16;
/// The longest TTL of an entry, however long it is fresh.
const LONGEST: Duration = Duration::from_secs(24 * 60 * 60);
