//! Moving commands to another server without failing those that are in flight.

use std::{
    sync::{Arc, PoisonError, Weak},
    time::Duration,
};

use fred::{clients::Client, interfaces::ClientLike};
use tokio::time::sleep;

use super::role::Role;
use crate::redis::connection::{
    dedicated::{DEDICATED_TIMEOUT, Dedicated},
    link::{Link, jittered, reconnect},
};

impl Link {
    /// Connects a second client, which finds the server anew: by name, or through sentinels. True when that one is on a
    /// primary as far as it says, and commands go there from now on; the first one follows when what it had in flight is over.
    pub(crate) async fn relocate(self: &Arc<Self>) -> bool {
        let lasting = self.lasting_client();
        if lasting.is_clustered() {
            return false;
        }
        let beside = Dedicated::open(lasting.clone_new());
        if beside.connected().await.is_err()
            || !Role::ask(&beside.client, DEDICATED_TIMEOUT)
                .await
                .may_be_primary()
        {
            return false;
        }
        let stand_in = StandIn::begin(self, beside.client.clone());
        tokio::spawn(follow(Arc::downgrade(self), beside, stand_in));
        true
    }

    /// How long what is in flight may still take.
    fn drain_time(&self) -> Duration {
        (self.deadline + self.deadline / 10).min(LONGEST_DRAIN)
    }
}

/// A client that runs the commands of a link until this is dropped.
struct StandIn {
    link: Weak<Link>,
    client: Client,
}

impl StandIn {
    fn begin(link: &Arc<Link>, client: Client) -> Self {
        let mut current = link.current.write().unwrap_or_else(PoisonError::into_inner);
        current.stand_in = Some(client.clone());
        Self {
            link: Arc::downgrade(link),
            client,
        }
    }
}

impl Drop for StandIn {
    fn drop(&mut self) {
        let Some(link) = self.link.upgrade() else {
            return;
        };
        let mut current = link.current.write().unwrap_or_else(PoisonError::into_inner);
        // There may be another one meanwhile.
        if current
            .stand_in
            .as_ref()
            .is_some_and(|client| client.id() == self.client.id())
        {
            current.stand_in = None;
        }
    }
}

/// Has the lasting client of a link find the primary too, and gives the commands back to it.
async fn follow(link: Weak<Link>, beside: Dedicated, stand_in: StandIn) {
    loop {
        let Some(drain_time) = link.upgrade().map(|link| link.drain_time()) else {
            return;
        };
        sleep(drain_time).await;
        let Some(lasting) = link.upgrade().map(|link| link.lasting_client()) else {
            return;
        };
        if Role::ask(&lasting, DEDICATED_TIMEOUT).await != Role::Primary {
            reconnect(&lasting).await;
        }
        let role = Role::ask(&lasting, DEDICATED_TIMEOUT).await;
        if role.may_be_primary() {
            drop(stand_in);
            sleep(drain_time).await;
            drop(beside);
            return;
        }
        sleep(jittered(INTERVAL)).await;
    }
}

/// How long it takes at least until a client is told to find its server again.
const INTERVAL: Duration = Duration::from_millis(500);
/// A patient application's deadline is no reason to keep a second connection.
const LONGEST_DRAIN: Duration = Duration::from_secs(5);
