//! The sessions of a user: listed, and ended one by one or all at once.

use std::{collections::HashSet, sync::Arc, time::Duration};

use futures_util::future::join_all;
use http::StatusCode;
use tokio::sync::Barrier;
use tower_fred::{
    fred::interfaces::KeysInterface,
    session::{Device, Login, SessionStore},
};

use crate::session::browser::{Answer, Browser, Place, now, send};
use crate::support::Server;

/// Logs in, again as long as it is refused: right after all sessions were revoked, a login counts as begun before.
pub(crate) async fn log_in(browser: &Browser, user: &'static str) {
    let again = async {
        while log_in_once(browser, Login::of(user)).await.status == StatusCode::FORBIDDEN {}
    };
    tokio::time::timeout(Duration::from_secs(30), again)
        .await
        .expect("a login that is accepted");
}

pub(crate) async fn log_in_once(browser: &Browser, login: Login) -> Answer<()> {
    browser
        .visit(|session| async move { session.login(login).expect("a login") })
        .await
}

pub(crate) fn ids(devices: &[Device]) -> HashSet<String> {
    devices
        .iter()
        .map(|device| device.id().to_owned())
        .collect()
}

pub(crate) async fn id(browser: &Browser) -> String {
    let answer = browser
        .visit(|session| async move {
            session.user().await.expect("a user");
            session.id().expect("an id")
        })
        .await;
    answer.value
}

#[tokio::test]
async fn d12_all_others_and_one_by_its_handle() {
    check_d12_all_others_and_one_by_its_handle(&Place::server()).await;
}

pub(crate) async fn check_d12_all_others_and_one_by_its_handle(place: &Place) {
    let (layer, redis, keys) = place.stage().await;
    let store = SessionStore::new(redis);
    let devices: Vec<Browser> = join_all((0..3).map(|_| Browser::logged_in(&layer, "alice"))).await;
    let bob = Browser::logged_in(&layer, "bob").await;
    assert_eq!(store.list("alice").await.expect("an answer").len(), 3);

    // One by its handle, and only for whose it is.
    let second = id(&devices[1]).await;
    assert!(!store.revoke("bob", &second).await.expect("an answer"));
    assert!(!store.revoke("", &second).await.expect("an answer"));
    assert_eq!(devices[1].user().await.as_deref(), Some("alice"));
    assert!(store.revoke("alice", &second).await.expect("an answer"));
    assert!(!store.revoke("alice", &second).await.expect("an answer"));
    assert_eq!(devices[1].user().await, None);
    for bad in ["", "x", "{}*", &"A".repeat(22), &devices[0].token()] {
        assert!(
            !store.revoke("alice", bad).await.expect("an answer"),
            "{bad}"
        );
    }

    // All others, from within; and a login of the same request is not refused.
    let answer = devices[0]
        .visit(|session| async move {
            assert_eq!(session.devices().await.expect("an answer").len(), 2);
            let count = session.revoke_others().await.expect("an answer");
            session.login("alice").expect("an answer");
            count
        })
        .await;
    assert_eq!((answer.status, answer.value), (StatusCode::OK, 1));
    assert_eq!(devices[0].user().await.as_deref(), Some("alice"));
    assert_eq!(devices[2].user().await, None);
    assert_eq!(store.list("alice").await.expect("an answer").len(), 1);

    // All, such as when an account is closed.
    assert_eq!(store.revoke_all("alice").await.expect("an answer"), 1);
    assert_eq!(devices[0].user().await, None);
    assert!(store.list("alice").await.expect("an answer").is_empty());
    assert_eq!(bob.user().await.as_deref(), Some("bob"));
    keys.assert_all_expire().await;

    log_in(&devices[0], "alice").await;
    assert_eq!(store.list("alice").await.expect("an answer").len(), 1);
}

#[tokio::test]
async fn d12_no_login_that_began_before_survives_a_revocation_of_all() {
    check_d12_revocation_beats_logins(&Place::server(), 8, 125).await;
}

/// Logins on existing sessions and on none, with the revocation at another point of each round.
pub(crate) async fn check_d12_revocation_beats_logins(
    place: &Place,
    rounds: usize,
    at_once: usize,
) {
    let (layer, redis, _) = place.stage().await;
    let store = SessionStore::new(redis);
    let mut refused = 0;
    for round in 0..rounds {
        let browsers: Vec<Browser> = join_all((0..at_once).map(|number| {
            let layer = &layer;
            async move {
                match number % 2 {
                    0 => Browser::new(layer),
                    _ => Browser::with_session(layer).await,
                }
            }
        }))
        .await;
        // The credentials of all are being checked when the revocation begins.
        let checking = Arc::new(Barrier::new(at_once + 1));
        let logins = browsers.iter().map(|browser| {
            let checking = Arc::clone(&checking);
            browser.visit(move |session| async move {
                checking.wait().await;
                session.login("alice").expect("a login");
            })
        });
        let revocation = async {
            checking.wait().await;
            for _ in 0..round * 40 {
                tokio::task::yield_now().await;
            }
            store.revoke_all("alice").await.expect("a revocation")
        };
        let (answers, _) = tokio::join!(join_all(logins), revocation);
        for answer in answers {
            match answer.status {
                StatusCode::OK => {}
                StatusCode::FORBIDDEN => refused += 1,
                status => panic!("{status}"),
            }
        }
        for browser in &browsers {
            assert_eq!(browser.user().await, None, "survived in round {round}");
        }
        assert!(store.list("alice").await.expect("an answer").is_empty());
    }
    assert!(refused > 0, "the revocation was never in time to refuse");
    let browser = Browser::new(&layer);
    log_in(&browser, "alice").await;
    assert_eq!(browser.user().await.as_deref(), Some("alice"));
}

#[tokio::test]
async fn d13_the_list_tells_of_devices_and_its_handles_open_nothing() {
    check_d13_the_list(&Place::server()).await;
}

pub(crate) async fn check_d13_the_list(place: &Place) {
    let (layer, redis, keys) = place.stage().await;
    let store = SessionStore::new(redis);
    let begun = now();
    let phone = Browser::with_session(&layer).await;
    let login = Login::of("alice").label("phone");
    let login = login.metadata(&("203.0.113.7", 4)).expect("an answer");
    log_in_once(&phone, login).await;
    let laptop = Browser::new(&layer);
    log_in_once(&laptop, Login::of("alice").label("laptop")).await;
    let seen = (begun - 120_000).to_string();
    keys.set_field(&phone.token(), "!s", seen.clone()).await;

    let devices = store.list("alice").await.expect("an answer");
    let labels: Vec<&str> = devices.iter().map(Device::label).collect();
    // Used last comes first.
    assert_eq!(labels, ["laptop", "phone"]);
    let metadata: Option<(String, u8)> = devices[1].metadata().expect("an answer");
    assert_eq!(metadata, Some(("203.0.113.7".to_owned(), 4)));
    assert_eq!(devices[0].metadata::<String>().expect("an answer"), None);
    let millis = |time: std::time::SystemTime| {
        let since = time
            .duration_since(std::time::UNIX_EPOCH)
            .expect("an answer");
        i64::try_from(since.as_millis()).expect("an answer")
    };
    assert_eq!(millis(devices[1].last_seen()).to_string(), seen);
    for device in &devices {
        // The two clocks are those of one machine.
        let span = begun - 1000..=now() + 1000;
        assert!(span.contains(&millis(device.created())));
        assert!(span.contains(&millis(device.auth_at())));
        let life = millis(device.ends()) - millis(device.created());
        assert_eq!(life, 12 * 60 * 60 * 1000);
        assert!(!format!("{device:?}").contains(device.id()));
    }

    // A handle is no credential, in any form.
    let handle = devices[0].id().to_owned();
    for forged in [
        handle.clone(),
        format!("{handle}{}", "A".repeat(42)),
        format!("{}{}", &handle[..21], "A".repeat(43)),
    ] {
        let cookie = format!("__Host-id={forged}");
        let answer = send(&layer, &[cookie.as_bytes()], |session| async move {
            (StatusCode::OK, session.user().await.expect("an answer"))
        })
        .await;
        assert_eq!(answer.value, None, "{forged}");
    }

    // One that is over is not listed, and leaves the index when it is met.
    keys.admin
        .del::<(), _>(keys.key(&phone.token()))
        .await
        .expect("an answer");
    assert_eq!(store.list("alice").await.expect("an answer").len(), 1);
    // One that changed hands is listed with whose it is now.
    log_in_once(&laptop, Login::of("bob")).await;
    assert!(store.list("alice").await.expect("an answer").is_empty());
    assert_eq!(store.list("bob").await.expect("an answer")[0].label(), "");
    laptop.log_out().await;
    assert!(store.list("bob").await.expect("an answer").is_empty());
    assert!(keys.all().await.is_empty(), "{:?}", keys.all().await);
}

#[tokio::test]
async fn a_foreign_id_cannot_be_put_into_ones_own_list() {
    let place = Place::server();
    let (layer, redis, _) = place.stage().await;
    let store = SessionStore::new(redis);
    let victim = Browser::logged_in(&layer, "alice").await;
    // The victim's id, which may be known, with a secret of the attacker's.
    let forged = format!("__Host-id={}{}", &victim.token()[..22], "A".repeat(42));
    let answer = send(&layer, &[forged.as_bytes()], |session| async move {
        session.login("mallory").unwrap();
        (StatusCode::OK, ())
    })
    .await;
    assert_eq!(answer.set_cookies().len(), 1);
    assert_eq!(store.list("mallory").await.unwrap().len(), 1);
    assert_eq!(store.revoke_all("mallory").await.unwrap(), 1);
    assert_eq!(victim.user().await.as_deref(), Some("alice"));
}

#[tokio::test]
async fn more_sessions_than_a_page_are_all_revoked() {
    const SESSIONS: usize = 1_050;
    let place = Place::server();
    let (_, redis, keys) = place.stage().await;
    let store = SessionStore::new(redis);
    let mut tokens = Vec::new();
    for _ in 0..SESSIONS / 50 {
        let empty = serde_json::json!({});
        let created = join_all((0..50).map(|_| store.create_for("alice", &empty))).await;
        tokens.extend(created.into_iter().map(Result::unwrap));
    }
    let kept = &tokens[500];
    let ended = store.revoke_others("alice", &kept.id()).await.unwrap();
    assert_eq!(ended, SESSIONS - 1);
    assert_eq!(keys.sessions().await.len(), 1);
    let record = store.load(&kept.cookie_value()).await.unwrap();
    assert_eq!(record.unwrap().user(), Some("alice"));
}

/// The clock of another server, or one that was set back: without healing nobody could log in for an hour.
#[tokio::test]
async fn a_revocation_in_the_future_locks_nobody_out() {
    let server = Server::shared();
    let place = Place::Server(server);
    let (layer, redis, keys) = place.stage().await;
    let store = SessionStore::new(redis);
    store.revoke_all("alice").await.unwrap();
    let index = keys.all().await;
    let future = format!("-{}", now() + 3_600_000);
    crate::support::topology::run::<i64>(&keys.admin, "ZADD", &[&index[0], &future, "!"])
        .await
        .unwrap();
    let browser = Browser::new(&layer);
    assert_eq!(
        log_in_once(&browser, Login::of("alice")).await.status,
        StatusCode::FORBIDDEN
    );
    log_in(&browser, "alice").await;
    assert_eq!(browser.user().await.as_deref(), Some("alice"));
}

#[tokio::test]
async fn without_a_user_there_is_no_list() {
    let place = Place::server();
    let (layer, redis, keys) = place.stage().await;
    let browser = Browser::with_session(&layer).await;
    let answer = browser
        .visit(|session| async move {
            let devices = session.devices().await.unwrap().len();
            let revoked = session.revoke("AAAAAAAAAAAAAAAAAAAAAA").await.unwrap();
            (devices, session.revoke_others().await.unwrap(), revoked)
        })
        .await;
    assert_eq!(answer.value, (0, 0, false));
    assert_eq!(keys.all().await.len(), 1);
    assert!(SessionStore::new(redis).list("").await.unwrap().is_empty());
}

/// The list comes first: a login whose user's list cannot be written leaves the session as it was.
#[tokio::test]
async fn a_login_that_cannot_be_listed_changes_nothing() {
    let place = Place::server();
    let (layer, _, keys) = place.stage().await;
    let other = Browser::logged_in(&layer, "alice").await;
    let all = keys.all().await;
    let index = all.iter().find(|key| key.contains(":u:")).unwrap();
    let set = keys
        .admin
        .set::<(), _, _>(index, "damaged", None, None, false);
    set.await.unwrap();

    let browser = Browser::with_session(&layer).await;
    let (token, sessions) = (browser.token(), keys.sessions().await.len());
    let answer = log_in_once(&browser, Login::of("alice")).await;
    assert_eq!(answer.status, StatusCode::INTERNAL_SERVER_ERROR);
    answer.assert_no_cookie();
    assert_eq!(browser.token(), token);
    assert_eq!(browser.get("seed").await, Some(1));
    assert_eq!(browser.user().await, None);
    // A new session that could not be listed is not left behind.
    let new = Browser::new(&layer);
    let answer = log_in_once(&new, Login::of("alice")).await;
    assert_eq!(answer.status, StatusCode::INTERNAL_SERVER_ERROR);
    answer.assert_no_cookie();
    assert_eq!(keys.sessions().await.len(), sessions);
    // A logout is not held up by it.
    other.log_out().await.assert_removes_cookie();
}
