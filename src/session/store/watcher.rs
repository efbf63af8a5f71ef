//! The task that finds out which of the watched sessions have ended.
//!
//! It subscribes to the channel where ends are published, and checks records. A message is only a hint to check a record.

use std::{
    future::pending,
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use tokio::{
    select,
    sync::watch,
    task::JoinSet,
    time::{sleep, sleep_until},
};

use super::{
    revocation::AT_ONCE,
    session_store::SessionStore,
    watches::{Watch, WatcherHandle, Watches},
};
use crate::{
    error::Error,
    redis::{Heard, Redis, Script, Subscription},
    session::{
        credential::holder::Holder,
        record::session_record::{Found, number},
    },
};

/// Begins to wait for the end of a session. The first watch of a Redis handle starts the task.
pub(crate) fn watch_for_end(store: &SessionStore, holder: Holder) -> Arc<Watch> {
    let redis = &store.redis;
    let watcher = redis.shared(|| {
        let watcher = WatcherHandle::default();
        let in_use = watcher.in_use.subscribe();
        tokio::spawn(run(redis.clone(), Arc::clone(&watcher.watches), in_use));
        watcher
    });
    Watch::begin(store, holder, watcher)
}

/// Serves `watches` until `in_use` closes, which the last of them does.
async fn run(redis: Redis, watches: Arc<Watches>, mut in_use: watch::Receiver<()>) {
    let work = async {
        let mut ends = EndSubscription::new(&redis);
        // First, so that no end is missed between a check and the subscription.
        let subscription = ends.subscribe().await;
        tokio::join!(ends.listen(&watches, subscription), check_due(&watches));
    };
    select! {
        () = work => {}
        () = async { while in_use.changed().await.is_ok() {} } => {}
    }
}

/// The subscription to the channel where the ends of sessions are published.
struct EndSubscription<'a> {
    redis: &'a Redis,
    channel: String,
    was_refused: bool,
}

impl<'a> EndSubscription<'a> {
    fn new(redis: &'a Redis) -> Self {
        Self {
            redis,
            // NOTE: publish_end.lua publishes to it.
            channel: format!("{}:e", redis.namespace()),
            was_refused: false,
        }
    }

    async fn listen(&mut self, watches: &Watches, mut subscription: Option<Subscription>) {
        loop {
            if let Some(subscription) = &mut subscription {
                hear(subscription, watches).await;
            }
            sleep(if self.was_refused { REFUSED } else { PAUSE }).await;
            subscription = self.subscribe().await;
            if subscription.is_some() {
                // Ends that were published without a subscription were missed.
                watches.hint_all();
            }
        }
    }

    async fn subscribe(&mut self) -> Option<Subscription> {
        match self.redis.subscribe(&self.channel).await {
            Ok(Some(subscription)) => {
                self.was_refused = false;
                Some(subscription)
            }
            // An application's own client of a cluster: there are no hints, only checks at an interval.
            Ok(None) => {
                self.was_refused = true;
                None
            }
            Err(error) => {
                self.note(&error);
                None
            }
        }
    }

    fn note(&mut self, error: &Error) {
        if !error.is_auth() {
            tracing::debug!(target: "tower_fred::session", %error, "no subscription to the ends of sessions");
        } else if !std::mem::replace(&mut self.was_refused, true) {
            tracing::warn!(
                target: "tower_fred::session",
                %error,
                channel = self.channel,
                "the redis user may not subscribe: the end of a session is noticed late"
            );
        }
    }
}

async fn hear(subscription: &mut Subscription, watches: &Watches) {
    loop {
        match subscription.next().await {
            Heard::Message(id) => watches.hint(&id),
            Heard::Missed => watches.hint_all(),
            Heard::Lost => return,
        }
    }
}

async fn check_due(watches: &Arc<Watches>) {
    loop {
        let (due, next) = watches.take_due(Instant::now());
        if due.is_empty() {
            let time = async {
                match next {
                    Some(next) => sleep_until(next.into()).await,
                    None => pending().await,
                }
            };
            select! {
                () = watches.changed() => {}
                () = time => {}
            }
        } else {
            check_all(due, watches).await;
        }
        // Hints that come within this time are checked together.
        sleep(GATHERED).await;
    }
}

/// Checks records with as few commands as possible, and not too many commands at once.
async fn check_all(due: Vec<Arc<Watch>>, watches: &Arc<Watches>) {
    let is_cluster = due
        .first()
        .is_some_and(|watch| watch.store.redis.is_cluster());
    let mut checks = JoinSet::new();
    for group in due.chunks(if is_cluster { 1 } else { TOGETHER }) {
        if checks.len() == AT_ONCE {
            checks.join_next().await;
        }
        let (group, watches) = (group.to_vec(), Arc::clone(watches));
        checks.spawn(async move {
            if let Err(error) = check(&group, &watches).await {
                tracing::debug!(target: "tower_fred::session", %error, "cannot tell whether sessions have ended");
            }
        });
    }
    while checks.join_next().await.is_some() {}
}

async fn check(group: &[Arc<Watch>], watches: &Watches) -> Result<(), Error> {
    let key = |watch: &Arc<Watch>| watch.store.key(&watch.holder.token.id());
    let keys: Vec<String> = group.iter().map(key).collect();
    let Some(first) = group.first() else {
        return Ok(());
    };
    let asked = Instant::now();
    let words: Vec<Bytes> = first.store.redis.run_on(&REMAINING, &keys, []).await?;
    for (watch, found) in group.iter().zip(words.chunks_exact(2)) {
        let (lineage, left) = (&found[0], number(&found[1]).unwrap_or(0));
        if lineage.is_empty() {
            watches.end(watch);
        } else if *lineage == watch.holder.lineage {
            // Negative: somebody removed the key's time to live.
            let left = u64::try_from(left).map(Duration::from_millis);
            watches.postpone(
                watch,
                asked,
                left.unwrap_or(watch.store.settings.check_interval),
            );
        } else if let Err(error) = check_by_token(watch, watches).await {
            tracing::debug!(target: "tower_fred::session", %error, "cannot tell whether a session has ended");
        }
    }
    Ok(())
}

/// Decides about a session whose lineage has changed, by the holder's token.
async fn check_by_token(watch: &Arc<Watch>, watches: &Watches) -> Result<(), Error> {
    let asked = Instant::now();
    match watch.store.find(&watch.holder).await? {
        Found::Live(..) => watches.postpone(watch, asked, watch.store.settings.check_interval),
        _ => watches.end(watch),
    }
    Ok(())
}

static REMAINING: Script = Script::reading(include_str!("lua/remaining.lua"));

/// How many records one command checks.
const TOGETHER: usize = 256;
const GATHERED: Duration = Duration::from_millis(10);
/// The pause after a connection was lost or could not be made.
const PAUSE: Duration = Duration::from_millis(500);
/// The pause after the server refused the subscription.
const REFUSED: Duration = Duration::from_secs(30);
