//! The task that finds out whether sessions have ended that somebody waits for.
//!
//! It hears of ends as they are published, and looks at records. What it hears is only a reason to look.

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

/// Begins to wait for the end of a session. The first wait of a Redis handle starts the task.
pub(crate) fn watch_for_end(store: &SessionStore, holder: Holder) -> Arc<Watch> {
    let redis = &store.redis;
    let watcher = redis.shared(|| {
        let watcher = WatcherHandle::default();
        let in_use = watcher.in_use.subscribe();
        tokio::spawn(run(redis.clone(), Arc::clone(&watcher.waits), in_use));
        watcher
    });
    Watch::begin(store, holder, watcher)
}

/// Looks after `waits` for as long as there are any: `in_use` closes with the last.
async fn run(redis: Redis, waits: Arc<Watches>, mut in_use: watch::Receiver<()>) {
    let work = async {
        let mut ear = EndSubscription::new(&redis);
        // First, so that no end is missed between a look and the subscription.
        let subscription = ear.subscribe().await;
        tokio::join!(ear.listen(&waits, subscription), look_at_due(&waits));
    };
    select! {
        () = work => {}
        () = async { while in_use.changed().await.is_ok() {} } => {}
    }
}

/// Hears of the ends of sessions.
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

    async fn listen(&mut self, waits: &Watches, mut subscription: Option<Subscription>) {
        loop {
            if let Some(subscription) = &mut subscription {
                hear(subscription, waits).await;
            }
            sleep(if self.was_refused { REFUSED } else { PAUSE }).await;
            subscription = self.subscribe().await;
            if subscription.is_some() {
                // What ended while nobody listened was not heard.
                waits.hint_all();
            }
        }
    }

    async fn subscribe(&mut self) -> Option<Subscription> {
        match self.redis.subscribe(&self.channel).await {
            Ok(Some(subscription)) => {
                self.was_refused = false;
                Some(subscription)
            }
            // An application's own client of a cluster: there are only looks.
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
            tracing::debug!(target: "tower_fred::session", %error, "nobody listens to the ends of sessions");
        } else if !std::mem::replace(&mut self.was_refused, true) {
            tracing::warn!(
                target: "tower_fred::session",
                %error,
                channel = self.channel,
                "the redis user may not subscribe: who waits for the end of a session is told late"
            );
        }
    }
}

async fn hear(subscription: &mut Subscription, waits: &Watches) {
    loop {
        match subscription.next().await {
            Heard::Message(id) => waits.hint(&id),
            Heard::Missed => waits.hint_all(),
            Heard::Lost => return,
        }
    }
}

async fn look_at_due(waits: &Arc<Watches>) {
    loop {
        let (due, next) = waits.take_due(Instant::now());
        if due.is_empty() {
            let time = async {
                match next {
                    Some(next) => sleep_until(next.into()).await,
                    None => pending().await,
                }
            };
            select! {
                () = waits.changed() => {}
                () = time => {}
            }
        } else {
            look_at(due, waits).await;
        }
        // What comes at nearly the same time is looked at together.
        sleep(GATHERED).await;
    }
}

/// Looks at records, as few commands as possible and not too many at once.
async fn look_at(due: Vec<Arc<Watch>>, waits: &Arc<Watches>) {
    let is_cluster = due
        .first()
        .is_some_and(|wait| wait.store.redis.is_cluster());
    let mut looks = JoinSet::new();
    for group in due.chunks(if is_cluster { 1 } else { TOGETHER }) {
        if looks.len() == AT_ONCE {
            looks.join_next().await;
        }
        let (group, waits) = (group.to_vec(), Arc::clone(waits));
        looks.spawn(async move {
            if let Err(error) = look(&group, &waits).await {
                tracing::debug!(target: "tower_fred::session", %error, "cannot tell whether sessions have ended");
            }
        });
    }
    while looks.join_next().await.is_some() {}
}

async fn look(group: &[Arc<Watch>], waits: &Watches) -> Result<(), Error> {
    let key = |wait: &Arc<Watch>| wait.store.key(&wait.holder.token.id());
    let keys: Vec<String> = group.iter().map(key).collect();
    let Some(first) = group.first() else {
        return Ok(());
    };
    let asked = Instant::now();
    let words: Vec<Bytes> = first.store.redis.run_on(&LOOK, &keys, []).await?;
    for (wait, found) in group.iter().zip(words.chunks_exact(2)) {
        let (lineage, left) = (&found[0], number(&found[1]).unwrap_or(0));
        if lineage.is_empty() {
            waits.end(wait);
        } else if *lineage == wait.holder.lineage {
            // Less than nothing: somebody took away its end.
            let left = u64::try_from(left).map(Duration::from_millis);
            waits.postpone(wait, asked, left.unwrap_or(wait.store.settings.look));
        } else if let Err(error) = look_closer(wait, waits).await {
            tracing::debug!(target: "tower_fred::session", %error, "cannot tell whether a session has ended");
        }
    }
    Ok(())
}

/// Decides about a session that is there, and perhaps another's by now.
async fn look_closer(wait: &Arc<Watch>, waits: &Watches) -> Result<(), Error> {
    let asked = Instant::now();
    match wait.store.find(&wait.holder).await? {
        Found::Live(..) => waits.postpone(wait, asked, wait.store.settings.look),
        _ => waits.end(wait),
    }
    Ok(())
}

static LOOK: Script = Script::new(include_str!("lua/remaining.lua"));

/// How many records one command looks at.
const TOGETHER: usize = 256;
const GATHERED: Duration = Duration::from_millis(10);
/// After a connection was lost, or could not be made.
const PAUSE: Duration = Duration::from_millis(500);
/// After the server refused to let us listen.
const REFUSED: Duration = Duration::from_secs(30);
