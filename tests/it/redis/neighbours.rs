//! Two applications in one namespace, which nobody chose.

use tower_fred::{
    Redis,
    fred::{interfaces::KeysInterface, types::Expiration},
};

use crate::support::{Server, keys::assert_ours_and_bounded, log::Log, topology::Cluster};

#[tokio::test]
async fn another_application_in_the_default_namespace_is_told_of() {
    let (log, _guard) = Log::of_this_thread();
    let server = Server::start();
    let warnings = || log.lines(&["WARN", "default namespace"]).len();
    let first = Redis::connect(&server.url()).await.expect("a handle");
    let again = Redis::connect(&server.url()).await.expect("a handle");
    assert_eq!(warnings(), 0, "its own processes are no other application");
    let admin = server.admin().await;
    assert_ours_and_bounded(std::slice::from_ref(&admin), first.namespace()).await;

    // As the other application did when it connected.
    let day = Some(Expiration::EX(86400));
    let _: () = admin
        .set("tower-fred:application", "other-shop", day, None, false)
        .await
        .expect("set");
    let url = server.url();
    let (counts, third) = server.count(Redis::connect(&url)).await;
    third.expect("a handle");
    assert_eq!(warnings(), 1);
    assert!(log.lines(&["other-shop"])[0].contains("namespace"));
    assert_eq!(counts.total(), 1, "{counts:?}");

    // Who chose a namespace is asked nothing, and leaves nothing.
    let url = server.url();
    let chosen = Redis::builder().namespace("shop").connect(&url);
    let (counts, chosen) = server.count(chosen).await;
    chosen.expect("a handle");
    assert_eq!(counts.total(), 0, "{counts:?}");
    drop(again);
}

/// The marker is on the server that has its slot; a user may lack the permission to set it.
#[tokio::test]
async fn in_a_cluster_and_without_the_permission_it_is_no_error() {
    let cluster = Cluster::start().await;
    Redis::connect(&cluster.url()).await.expect("a handle");
    let mut found = 0;
    for primary in cluster.primaries() {
        found += i32::from(
            primary
                .exists::<bool, _>("tower-fred:application")
                .await
                .unwrap_or(false),
        );
    }
    assert_eq!(found, 1);

    let server = Server::start();
    let admin = server.admin().await;
    let rules = ["SETUSER", "poor", "on", ">pw", "+ping", "+info"];
    let _: () = crate::support::topology::run(&admin, "ACL", &rules)
        .await
        .expect("a user");
    let url = format!("redis://poor:pw@127.0.0.1:{}", server.port());
    Redis::connect(&url).await.expect("a handle");
}
