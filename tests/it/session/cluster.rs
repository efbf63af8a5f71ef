//! The promises that rest on what is stored, on a cluster: sessions and their users' lists are in different slots there.

use std::time::Duration;

use tower_fred::Redis;

use super::{
    browser::Place,
    failures,
    handle::{csrf, end, lifetime, parallel, races, updates, user_change},
    record::{bounds, encoding, pepper},
    security,
    store::{devices, eviction, session_limits, timeouts},
};
use crate::support::{server::namespace, topology::Cluster};

#[tokio::test]
async fn d04_to_d09_on_a_cluster() {
    let place = Place::Cluster(Cluster::start().await);
    security::check_d04_d05_a_login_changes_the_token_by_itself_and_the_old_one_is_dead(&place)
        .await;
    races::check_d06_a_slow_writer_does_not_undo_a_login(&place).await;
    races::check_d07_a_slow_writer_does_not_undo_a_logout(&place).await;
    timeouts::check_d08_an_idle_session_ends(&place).await;
    timeouts::check_d09_nothing_moves_the_absolute_end(&place).await;
    timeouts::check_d09_past_the_absolute_end_there_is_no_session_whatever_its_time_to_live(&place)
        .await;
}

#[tokio::test]
async fn d11_to_d14_on_a_cluster() {
    let place = Place::Cluster(Cluster::start().await);
    lifetime::check_d11_renewal(&place).await;
    devices::check_d12_all_others_and_one_by_its_handle(&place).await;
    devices::check_d12_revocation_beats_logins(&place, 8, 125).await;
    devices::check_d13_the_list(&place).await;
    session_limits::check_d14_limits(&place).await;
    session_limits::check_d14_at_once(&place).await;
    eviction::check_a_use_meets_its_list(&place).await;
    user_change::check_another_user_inherits_nothing(&place).await;
}

#[tokio::test]
async fn d22_to_d34_on_a_cluster() {
    let place = Place::Cluster(Cluster::start().await);
    races::check_d22_a_read_with_the_cookie_from_before_the_login_is_anonymous_and_harmless(&place)
        .await;
    pepper::check_d23_pepper(&place).await;
    encoding::check_d24_sealing(&place).await;
    bounds::check_d31_limits(&place).await;
    timeouts::check_d32_every_key_has_an_end_whatever_happened_to_it(&place).await;
    csrf::check_d33_csrf(&place).await;
    failures::check_d34_a_request_that_is_dropped_anywhere_leaves_the_old_state_or_the_new(&place)
        .await;
    updates::check_d34_dropped_operations(&place).await;
    updates::check_d34_dropped_logins(&place).await;
}

#[tokio::test]
async fn no_update_is_lost_on_a_cluster() {
    let place = Place::Cluster(Cluster::start().await);
    parallel::check_fifty_requests_at_once_lose_nothing(&place).await;
    updates::check_fifty_additions_and_updates(&place).await;
}

#[tokio::test]
async fn the_end_of_a_session_is_told_on_a_cluster() {
    let place = Place::Cluster(Cluster::start().await);
    end::check_the_end_is_told(&place).await;
    end::check_a_lost_hint(&place).await;
}

/// An application's own client of a cluster hears no hints: waiting never ended.
#[tokio::test]
async fn the_end_of_a_session_is_told_without_hints() {
    let cluster = Cluster::start().await;
    let client = cluster.application_client().await;
    let redis = Redis::builder()
        .namespace(namespace())
        .deadline(Duration::from_secs(10))
        .client(client)
        .expect("a handle");
    end::check_looks_alone(&redis).await;
}
