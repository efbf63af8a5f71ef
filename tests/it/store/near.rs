//! What is kept in this process.

use tower_fred::memo::Memo;

use super::purge::{MINUTE, nodes, warm};
use crate::support::Server;

/// A copy that had become stale hid what another node had made in its place.
#[tokio::test]
async fn a_stale_copy_does_not_hide_what_was_made_anew() {
    let server = Server::shared();
    let (here, there) = nodes(&server.url()).await;
    let memo = |redis: &tower_fred::Redis| -> Memo<u64> {
        Memo::new(redis.clone(), "numbers", MINUTE)
            .near(1 << 20)
            .stale_while_revalidate(MINUTE)
            .tag("soft")
    };
    let (near, far) = (memo(&here), memo(&there));
    near.set(1, &1).await.expect("set");
    warm(&near, [1]).await;
    here.purge().soft().tag("soft").await.expect("purged");
    assert_eq!(near.get(1).await.expect("get"), Some(1), "stale");
    assert_eq!(far.get_or_set(1, async || 2).await, 2);
    tokio::time::timeout(MINUTE, async {
        while near.get(1).await.expect("get") != Some(2) {
            tokio::task::yield_now().await;
        }
    })
    .await
    .expect("the new one");
}
