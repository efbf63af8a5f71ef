//! Who waits for the end of a session, and when its record is to be looked at.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
    time::{Duration, Instant},
};

use tokio::sync::{Notify, watch};

use super::session_store::SessionStore;
use crate::session::credential::holder::Holder;

/// One session that is waited for, by all clones of a [`Session`](crate::session::Session) together.
pub(crate) struct Watch {
    pub(crate) store: SessionStore,
    pub(crate) holder: Holder,
    ended: watch::Sender<bool>,
    watcher: Arc<WatcherHandle>,
}

impl Watch {
    /// Adds a wait to those that the task looks after.
    pub(crate) fn begin(
        store: &SessionStore,
        holder: Holder,
        watcher: Arc<WatcherHandle>,
    ) -> Arc<Self> {
        let wait = Arc::new(Self {
            store: store.clone(),
            holder,
            ended: watch::Sender::new(false),
            watcher,
        });
        wait.watcher.waits.add(&wait);
        wait
    }

    pub(crate) fn is_for(&self, holder: &Holder) -> bool {
        self.holder.token.id() == holder.token.id() && self.holder.lineage == holder.lineage
    }

    pub(crate) async fn ended(&self) {
        // The sender is here, so this is no error.
        let _ = self.ended.subscribe().wait_for(|ended| *ended).await;
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.watcher.waits.remove_dropped(&self.holder.token.id());
    }
}

/// What all waits of one Redis handle share: the task ends when the last of them is dropped.
#[derive(Default)]
pub(crate) struct WatcherHandle {
    pub(crate) waits: Arc<Watches>,
    /// Closes when it is dropped.
    pub(crate) in_use: watch::Sender<()>,
}

/// All waits of a handle, by the ids of their sessions.
#[derive(Default)]
pub(crate) struct Watches {
    entries: Mutex<HashMap<String, Vec<Entry>>>,
    changed: Notify,
}

struct Entry {
    wait: Weak<Watch>,
    /// When the record is to be looked at.
    due: Instant,
    /// From when on that may be done together with others.
    ready: Instant,
    /// There was a reason to look since the last look began.
    hinted: bool,
}

impl Watches {
    fn add(&self, wait: &Arc<Watch>) {
        let now = Instant::now();
        let entry = Entry {
            wait: Arc::downgrade(wait),
            due: now,
            ready: now,
            hinted: false,
        };
        let mut entries = self.entries();
        entries
            .entry(wait.holder.token.id())
            .or_default()
            .push(entry);
        drop(entries);
        self.changed.notify_one();
    }

    /// The session has ended.
    pub(crate) fn end(&self, wait: &Arc<Watch>) {
        let mut entries = self.entries();
        if let Some(waiting) = entries.get_mut(&wait.holder.token.id()) {
            waiting.retain(|entry| !entry.is_of(wait));
        }
        drop(entries);
        wait.ended.send_replace(true);
    }

    fn remove_dropped(&self, id: &str) {
        let mut entries = self.entries();
        if let Some(waiting) = entries.get_mut(id) {
            waiting.retain(|entry| entry.wait.strong_count() > 0);
            if waiting.is_empty() {
                entries.remove(id);
            }
        }
    }

    /// The session with this id may have ended.
    pub(crate) fn hint(&self, id: &str) {
        let mut entries = self.entries();
        let Some(waiting) = entries.get_mut(id) else {
            return;
        };
        waiting.iter_mut().for_each(Entry::hint);
        drop(entries);
        self.changed.notify_one();
    }

    /// Any session may have ended.
    pub(crate) fn hint_all(&self) {
        self.entries().values_mut().flatten().for_each(Entry::hint);
        self.changed.notify_one();
    }

    /// Those to look at now, and when the next ones are to be looked at.
    pub(crate) fn take_due(&self, now: Instant) -> (Vec<Arc<Watch>>, Option<Instant>) {
        let mut entries = self.entries();
        let next = |entries: &HashMap<String, Vec<Entry>>| {
            entries.values().flatten().map(|entry| entry.due).min()
        };
        if next(&entries).is_none_or(|next| next > now) {
            return (Vec::new(), next(&entries));
        }
        let ready = entries.values_mut().flatten();
        let ready = ready.filter(|entry| entry.ready <= now);
        let taken = ready.filter_map(|entry| {
            // Should the look fail, this is when it is tried again.
            (entry.due, entry.ready, entry.hinted) = (now + RETRY, now + RETRY, false);
            entry.wait.upgrade()
        });
        let taken = taken.collect();
        (taken, next(&entries))
    }

    /// A look found the session alive, with this time left if nobody uses it.
    pub(crate) fn postpone(&self, wait: &Arc<Watch>, now: Instant, left: Duration) {
        let interval = wait.store.settings.look;
        let end = now + left.min(FAR) + MARGIN;
        let mut entries = self.entries();
        let waiting = entries
            .get_mut(&wait.holder.token.id())
            .into_iter()
            .flatten();
        for entry in waiting.filter(|entry| entry.is_of(wait) && !entry.hinted) {
            entry.due = end.min(now + interval.min(FAR));
            // Some are looked at a little early, so that many are looked at together.
            entry.ready = end.min(now + interval.min(FAR) * 3 / 4);
        }
    }

    pub(crate) async fn changed(&self) {
        self.changed.notified().await;
    }

    fn entries(&self) -> MutexGuard<'_, HashMap<String, Vec<Entry>>> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Entry {
    fn is_of(&self, wait: &Arc<Watch>) -> bool {
        std::ptr::eq(self.wait.as_ptr(), Arc::as_ptr(wait))
    }

    fn hint(&mut self) {
        let now = Instant::now();
        (self.due, self.ready, self.hinted) = (now, now, true);
    }
}

const RETRY: Duration = Duration::from_secs(1);
/// Redis ends a session at a millisecond; its clock and this one run at nearly the same speed.
const MARGIN: Duration = Duration::from_millis(5);
/// Longer than anybody waits, and far from what an `Instant` can hold.
const FAR: Duration = Duration::from_secs(24 * 60 * 60);
