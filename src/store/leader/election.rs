//! The election of the caller that makes an entry; the others wait for it.

use std::{sync::Arc, time::Instant};

use tokio::time::timeout;

use super::{claim::Claim, lead::Lead, progress::Progress, turn::Turn};
use crate::{
    redis::Budget,
    store::{
        entry::{
            log_position::Seq,
            slot::{Held, Seen, Slot},
            state::Verdict,
            tag::{Subject, Tag},
        },
        flight::{
            flights::{Leadership, Role},
            state::Outcome,
        },
        tiers::{inner::Inner, lookup::Usable},
    },
};

impl Inner {
    /// See `Store::begin`.
    pub(crate) async fn begin(
        self: &Arc<Self>,
        slot: &Slot,
        mut seen: Option<Seen>,
        budget: &mut Budget,
    ) -> Turn {
        if seen.is_none() {
            if let Some(usable) = self.look_here(slot, *budget).await {
                return Turn::Follow(usable);
            }
        }
        if self.refusals.has(slot.digest(), Instant::now()) {
            return Turn::Lead(Lead::alone(self, slot, seen.unwrap_or(Seen::Nothing)));
        }
        if let Some(turn) = self.retry(slot, *budget).await {
            return turn;
        }
        let joined = Instant::now();
        let mut is_known = true;
        // A leader that has led for longer than callers wait may never end.
        let is_late = |seq, since: Instant| {
            since.elapsed() > self.settings.wait
                || self.is_purged(seq, slot.subject(), slot.group())
        };
        for _ in 0..FLIGHTS {
            let now = self.log.seq();
            // While the purge log cannot be read, an outcome is for the callers that came before it was begun. The others
            // join the next flight.
            let usable = |found: &Outcome| {
                (is_known || found.began >= joined) && self.judge(slot, &found.held.entry).is_some()
            };
            let role = self.flights.join(*slot.digest(), now, is_late, usable);
            // Twice as long, since the leader may wait for another process first: its followers must not all load then.
            let waits = Instant::now();
            let role = timeout(self.settings.wait * 2, role).await;
            budget.extend(waits.elapsed());
            match role {
                Err(_) | Ok(Role::Deserted) => break,
                // All who waited for a load that failed or was not storable load for themselves, at the same time.
                Ok(Role::Failed(leaders)) => {
                    let seen = match leaders {
                        Seen::Unknown => seen.unwrap_or(leaders),
                        _ => leaders,
                    };
                    return Turn::Lead(Lead::alone(self, slot, seen));
                }
                Ok(Role::Lead(leadership)) => {
                    return self.lead(slot, seen, leadership, budget).await;
                }
                Ok(Role::Follow(Outcome { held, began })) => {
                    let is_for_us = began >= joined;
                    is_known =
                        is_for_us || budget.limit(self.knowing(async { Ok(()) })).await.is_ok();
                    let state = self.judge(slot, &held.entry);
                    if let (Some(state), true) = (state, is_known) {
                        let Held { entry, seen } = held;
                        return Turn::Follow(Usable { entry, state, seen });
                    }
                }
            }
            seen = None;
        }
        Turn::Lead(Lead::alone(self, slot, Seen::Unknown))
    }

    /// As the leader: looks in Redis first, then leads if there is nothing to use.
    async fn lead(
        self: &Arc<Self>,
        slot: &Slot,
        seen: Option<Seen>,
        leadership: Leadership,
        budget: &mut Budget,
    ) -> Turn {
        let known = seen.clone().unwrap_or(Seen::Unknown);
        let began = Instant::now();
        let watch = Progress {
            heartbeat: Some(Arc::clone(leadership.heartbeat())),
            keepalive: None,
        };
        match watch.during(Box::pin(self.claim(slot, seen, budget))).await {
            Ok(Claim::Found(usable)) => {
                let held = Held {
                    entry: Arc::clone(&usable.entry),
                    seen: usable.seen.clone(),
                };
                leadership.share(held, began).end();
                Turn::Follow(usable)
            }
            Ok(Claim::Ours { seen, lease, stale }) => {
                Turn::Lead(Lead::new(self, slot, seen, lease, stale).with_leadership(leadership))
            }
            Ok(Claim::InVain(seen)) => {
                leadership.fail(seen.clone());
                Turn::Lead(Lead::alone(self, slot, seen))
            }
            Err(error) => {
                tracing::debug!(target: "tower_fred::store", %error, "redis cannot be asked: the entry is made and not stored");
                Turn::Lead(Lead::alone(self, slot, known).with_leadership(leadership))
            }
        }
    }

    /// Whether the group was purged since `seq`.
    fn is_purged(&self, seq: Seq, subject: Subject, group: Tag) -> bool {
        // Before the log was first read, nothing is known to be purged.
        self.log.seq() != Seq::default() && self.log.judge(seq, subject, [group]) == Verdict::Gone
    }
}

/// How many flights a caller joins one after another before it loads for itself.
const FLIGHTS: u32 = 3;
