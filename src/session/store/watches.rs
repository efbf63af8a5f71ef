//! The sessions whose end is waited for, and when their records are to be checked.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
    time::{Duration, Instant},
};

use tokio::sync::{Notify, watch};

use super::session_store::SessionStore;
use crate::session::credential::holder::Holder;

/// The wait for the end of one session, shared by all clones of a [`Session`](crate::session::Session).
pub(crate) struct Watch {
    pub(crate) store: SessionStore,
    pub(crate) holder: Holder,
    ended: watch::Sender<bool>,
    watcher: Arc<WatcherHandle>,
}

impl Watch {
    /// Adds a watch to those that the task serves.
    pub(crate) fn begin(
        store: &SessionStore,
        holder: Holder,
        watcher: Arc<WatcherHandle>,
    ) -> Arc<Self> {
        let watch = Arc::new(Self {
            store: store.clone(),
            holder,
            ended: watch::Sender::new(false),
            watcher,
        });
        watch.watcher.watches.add(&watch);
        watch
    }

    pub(crate) fn is_for(&self, holder: &Holder) -> bool {
        self.holder.token.id() == holder.token.id() && self.holder.lineage == holder.lineage
    }

    pub(crate) async fn ended(&self) {
        // The sender is alive, so there is no error.
        let _ = self.ended.subscribe().wait_for(|ended| *ended).await;
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.watcher.watches.remove_dropped(&self.holder.token.id());
    }
}

/// What all watches of one Redis handle share. The task ends when the last of them is dropped.
#[derive(Default)]
pub(crate) struct WatcherHandle {
    pub(crate) watches: Arc<Watches>,
    /// Closes when it is dropped.
    pub(crate) in_use: watch::Sender<()>,
}

/// All watches of a Redis handle, by the ids of their sessions.
#[derive(Default)]
pub(crate) struct Watches {
    entries: Mutex<HashMap<String, Vec<Entry>>>,
    changed: Notify,
}

struct Entry {
    watch: Weak<Watch>,
    /// When the record is to be checked.
    due: Instant,
    /// From when on it may be checked together with others.
    ready: Instant,
    /// There was a hint since the last check began.
    hinted: bool,
}

impl Watches {
    fn add(&self, watch: &Arc<Watch>) {
        let now = Instant::now();
        let entry = Entry {
            watch: Arc::downgrade(watch),
            due: now,
            ready: now,
            hinted: false,
        };
        let mut entries = self.entries();
        entries
            .entry(watch.holder.token.id())
            .or_default()
            .push(entry);
        drop(entries);
        self.changed.notify_one();
    }

    /// The session has ended.
    pub(crate) fn end(&self, watch: &Arc<Watch>) {
        let mut entries = self.entries();
        if let Some(waiting) = entries.get_mut(&watch.holder.token.id()) {
            waiting.retain(|entry| !entry.is_of(watch));
        }
        drop(entries);
        watch.ended.send_replace(true);
    }

    fn remove_dropped(&self, id: &str) {
        let mut entries = self.entries();
        if let Some(waiting) = entries.get_mut(id) {
            waiting.retain(|entry| entry.watch.strong_count() > 0);
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

    /// The watches to check now, and when the next ones are due.
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
            // If the check fails, it is tried again then.
            (entry.due, entry.ready, entry.hinted) = (now + RETRY, now + RETRY, false);
            entry.watch.upgrade()
        });
        let taken = taken.collect();
        (taken, next(&entries))
    }

    /// A check found the session live, with this time left if it is not used.
    pub(crate) fn postpone(&self, watch: &Arc<Watch>, now: Instant, left: Duration) {
        let interval = watch.store.settings.check_interval;
        let end = now + left.min(FAR) + MARGIN;
        let mut entries = self.entries();
        let waiting = entries
            .get_mut(&watch.holder.token.id())
            .into_iter()
            .flatten();
        for entry in waiting.filter(|entry| entry.is_of(watch) && !entry.hinted) {
            entry.due = end.min(now + interval.min(FAR));
            // A check may come a little early, so that many can be done with one command.
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
    fn is_of(&self, watch: &Arc<Watch>) -> bool {
        std::ptr::eq(self.watch.as_ptr(), Arc::as_ptr(watch))
    }

    fn hint(&mut self) {
        let now = Instant::now();
        (self.due, self.ready, self.hinted) = (now, now, true);
    }
}

const RETRY: Duration = Duration::from_secs(1);
/// Redis ends a session at a millisecond; its clock and this one run at nearly the same speed.
const MARGIN: Duration = Duration::from_millis(5);
/// A bound far below what an `Instant` can hold.
const FAR: Duration = Duration::from_secs(24 * 60 * 60);
