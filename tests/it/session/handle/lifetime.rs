//! From login to the end: renewal of tokens, remembered logins, the age of a login.

use std::time::Duration;

use http::StatusCode;
use tower_fred::{
    SessionLayer,
    session::{Login, SessionStore},
};

use crate::session::browser::{Browser, Place, now, send};

const MINUTE: u64 = 60;

/// As if the token had been issued this long ago.
async fn age_token(keys: &crate::session::browser::Keys, browser: &Browser, seconds: i64) {
    let issued = (now() - seconds * 1000).to_string();
    keys.set_field(&browser.token(), "!n", issued).await;
}

#[tokio::test]
async fn d11_an_old_token_is_renewed_and_good_for_a_grace() {
    check_d11_renewal(&Place::server()).await;
}

pub(crate) async fn check_d11_renewal(place: &Place) {
    let (_, redis, keys) = place.stage().await;
    let store = SessionStore::new(redis).renew_every(Duration::from_secs(60 * MINUTE));
    let layer = SessionLayer::over(store);
    let browser = Browser::logged_in(&layer, "alice").await;
    let old = browser.copy();
    assert_eq!(browser.get("seed").await, Some(1));
    assert_eq!(browser.token(), old.token(), "renewed too early");

    age_token(&keys, &browser, 3601).await;
    // A 5xx says nothing: it may be a proxy that drops the cookie.
    browser
        .visit_as(StatusCode::BAD_GATEWAY, |session| async move {
            session.user().await.expect("an answer")
        })
        .await
        .assert_no_cookie();
    assert_eq!(browser.user().await.as_deref(), Some("alice"));
    assert_ne!(browser.token(), old.token());
    // The same rights, the same session: what is on its way with the old token reads and writes, and gets no cookie.
    assert_eq!(old.user().await.as_deref(), Some("alice"));
    old.set("late", 1).await.assert_no_cookie();
    assert_eq!(browser.get("late").await, Some(1));
    assert_eq!(old.token()[..21], browser.token()[..21]);

    // After the grace it is known as replaced.
    keys.set_field(&browser.token(), "!k", "1").await;
    assert_eq!(old.user().await, None);
    old.set("later", 1).await.assert_no_cookie();
    assert_eq!(browser.get("later").await, None);

    // A login kills the old one at once.
    age_token(&keys, &browser, 3601).await;
    let old = browser.copy();
    assert_eq!(browser.get("late").await, Some(1));
    assert_ne!(browser.token(), old.token());
    assert_eq!(old.get("late").await, Some(1));
    let last = browser.copy();
    browser
        .visit(|session| async move { session.login("alice").expect("an answer") })
        .await;
    assert_eq!(last.user().await, None);
    assert_eq!(old.user().await, None);
    assert_eq!(browser.user().await.as_deref(), Some("alice"));
}

/// The answer that had the new token never came. Without another, the user would be logged out when the grace is over.
#[tokio::test]
async fn d11_a_renewed_token_that_was_lost_is_replaced() {
    let place = Place::server();
    let (_, redis, keys) = place.stage().await;
    let store = SessionStore::new(redis).renew_every(Duration::from_secs(60 * MINUTE));
    let layer = SessionLayer::over(store);
    let browser = Browser::logged_in(&layer, "alice").await;
    age_token(&keys, &browser, 3601).await;
    let lost = browser.copy();
    assert_eq!(lost.user().await.as_deref(), Some("alice"));
    assert_ne!(lost.token(), browser.token());

    // In the grace's first half the answer may still be on its way.
    let unchanged = browser.token();
    assert_eq!(browser.user().await.as_deref(), Some("alice"));
    assert_eq!(browser.token(), unchanged);
    let soon = (now() + 10_000).to_string();
    keys.set_field(&browser.token(), "!k", soon.clone()).await;
    assert_eq!(browser.user().await.as_deref(), Some("alice"));
    assert_ne!(browser.token(), unchanged);
    assert_eq!(lost.user().await, None);

    // But not when somebody was seen with the new one.
    let old = browser.copy();
    age_token(&keys, &browser, 3601).await;
    assert_eq!(browser.user().await.as_deref(), Some("alice"));
    assert_eq!(browser.user().await.as_deref(), Some("alice"));
    while keys.field(&browser.token(), "!o").await.is_some() {}
    keys.set_field(&browser.token(), "!k", soon).await;
    let (new, before) = (browser.token(), old.token());
    assert_eq!(old.user().await.as_deref(), Some("alice"));
    assert_eq!(old.token(), before);
    assert_eq!(browser.token(), new);
    assert_eq!(browser.user().await.as_deref(), Some("alice"));
}

#[tokio::test]
async fn d11_of_many_requests_with_an_old_token_one_renews_it() {
    let place = Place::server();
    let (_, redis, keys) = place.stage().await;
    let store = SessionStore::new(redis).renew_every(Duration::from_secs(60 * MINUTE));
    let layer = SessionLayer::over(store);
    let browser = Browser::logged_in(&layer, "alice").await;
    age_token(&keys, &browser, 3601).await;
    let cookie = browser.cookie_header().unwrap();
    let visits = (0..50).map(|number| {
        let (layer, cookie) = (&layer, &cookie);
        async move {
            let cookies = [cookie.as_bytes()];
            let visit = send(layer, &cookies, move |session| async move {
                assert_eq!(session.user().await.unwrap().as_deref(), Some("alice"));
                session.insert(&format!("k{number}"), &number).unwrap();
                (StatusCode::OK, ())
            });
            visit.await.set_cookies().len()
        }
    });
    let cookies: usize = futures_util::future::join_all(visits).await.iter().sum();
    assert_eq!(cookies, 1);
    let count = browser.visit(|session| async move {
        let mut count = 0;
        for number in 0..50 {
            let value: Option<i32> = session.get(&format!("k{number}")).await.unwrap();
            count += usize::from(value == Some(number));
        }
        count
    });
    assert_eq!(count.await.value, 50);
}

/// A WebSocket that lives longer than a token.
#[tokio::test]
async fn d11_a_socket_goes_on_over_renewals_and_ends_with_the_session() {
    let place = Place::server();
    let (_, redis, keys) = place.stage().await;
    let store = SessionStore::new(redis).renew_every(Duration::from_secs(60 * MINUTE));
    let layer = SessionLayer::over(store.clone());
    let browser = Browser::logged_in(&layer, "alice").await;
    let open = || {
        browser.visit(|session| async move {
            assert!(session.is_alive().await.unwrap());
            session
        })
    };
    let socket = open().await.value;
    for _ in 0..2 {
        age_token(&keys, &browser, 3601).await;
        let before = browser.token();
        browser.get("seed").await;
        assert_ne!(browser.token(), before);
        // As after the grace and its tombstone.
        for field in ["!k", "!g"] {
            keys.set_field(&browser.token(), field, "1").await;
        }
    }
    assert!(socket.is_alive().await.unwrap());
    assert_eq!(socket.incr("messages", 1).await.unwrap(), 1);
    socket.insert("seen", &1).unwrap();
    socket.commit().await.unwrap();
    assert_eq!(browser.get("messages").await, Some(1));
    assert_eq!(browser.get("seen").await, Some(1));

    // Another login is another's, a logout and a revocation are the end.
    browser
        .visit(|session| async move { session.login("bob").unwrap() })
        .await;
    assert!(!socket.is_alive().await.unwrap());
    assert!(
        socket
            .incr("messages", 1)
            .await
            .unwrap_err()
            .is_interrupted()
    );
    let socket = open().await.value;
    store.revoke_all("bob").await.unwrap();
    assert!(!socket.is_alive().await.unwrap());
    let nobody = Browser::new(&layer);
    let answer = nobody.visit(|session| async move { session.is_alive().await.unwrap() });
    assert!(!answer.await.value);
}

#[tokio::test]
async fn d10_a_remembered_login_outlives_the_browser_but_not_its_end_on_the_server() {
    let place = Place::server();
    let (_, redis, keys) = place.stage().await;
    let store = SessionStore::new(redis).remembered_for(Duration::from_secs(10 * 24 * 3600));
    let layer = SessionLayer::over(store);
    let browser = Browser::with_session(&layer).await;
    let log_in =
        |login: Login| browser.visit(move |session| async move { session.login(login).unwrap() });
    let max_age = |cookie: &str| -> Option<u64> {
        let (_, rest) = cookie.split_once("; Max-Age=")?;
        rest.parse().ok()
    };
    let answer = log_in(Login::of("alice")).await;
    assert_eq!(max_age(answer.set_cookies()[0]), None);
    let answer = log_in(Login::of("alice").remembered()).await;
    assert_eq!(max_age(answer.set_cookies()[0]), Some(10 * 24 * 3600));
    let left = keys.left(&browser.token()).await;
    assert!(left > 9 * 24 * 3_600_000, "{left}");

    // It is still remembered when the token is replaced.
    for step in 0..2 {
        let answer = browser
            .visit(move |session| async move {
                match step {
                    0 => session.rotate(),
                    _ => session.insert("a", &1).unwrap(),
                }
            })
            .await;
        if step == 0 {
            let seconds = max_age(answer.set_cookies()[0]).unwrap();
            assert!((10 * 24 * 3600 - 60..=10 * 24 * 3600).contains(&seconds));
        }
        assert!(keys.left(&browser.token()).await > 9 * 24 * 3_600_000);
    }
    // Each login decides anew, whoever it is: the user's own later one without it left the session remembered.
    for user in ["alice", "bob"] {
        log_in(Login::of("alice").remembered()).await;
        let answer = log_in(Login::of(user)).await;
        assert_eq!(max_age(answer.set_cookies()[0]), None, "{user}");
        assert!(keys.left(&browser.token()).await <= 30 * 60_000);
        assert_eq!(keys.field(&browser.token(), "!i").await, None);
        let end: i64 = String::from_utf8(keys.field(&browser.token(), "!x").await.unwrap())
            .unwrap()
            .parse()
            .unwrap();
        assert!(end <= now() + 12 * 3_600_000 + 60_000, "{user}");
        let answer = browser.visit(|session| async move { session.rotate() });
        assert_eq!(max_age(answer.await.set_cookies()[0]), None, "{user}");
    }

    // A cookie that the browser kept, or a forged one, is nobody's when the server says so.
    log_in(Login::of("alice").remembered()).await;
    keys.set_field(&browser.token(), "!x", (now() - 1).to_string())
        .await;
    assert!(browser.cookie_header().is_some());
    assert_eq!(browser.user().await, None);
}

#[tokio::test]
async fn d15_what_needs_a_recent_login_refuses_an_old_one() {
    let place = Place::server();
    let (layer, _, keys) = place.stage().await;
    let browser = Browser::with_session(&layer).await;
    let recent = || async {
        let answer = browser
            .visit(|session| async move {
                let five_minutes = Duration::from_secs(5 * MINUTE);
                let result = session.require_recent_auth(five_minutes).await;
                (
                    result.map_err(|error| error.is_forbidden()),
                    session.auth_at().await.unwrap(),
                )
            })
            .await;
        answer.value
    };
    assert_eq!(recent().await, (Err(true), None));
    let answer = browser
        .visit(|session| async move {
            session.login("alice").unwrap();
            session
                .require_recent_auth(Duration::from_secs(1))
                .await
                .unwrap();
        })
        .await;
    assert_eq!(answer.status, StatusCode::OK);
    assert!(recent().await.0.is_ok());
    let at = now() - 6 * 60_000;
    keys.set_field(&browser.token(), "!a", at.to_string()).await;
    let (result, auth_at) = recent().await;
    assert_eq!(result, Err(true));
    let since = auth_at
        .unwrap()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap();
    assert_eq!(i64::try_from(since.as_millis()).unwrap(), at);
    // A time in the future is no age: it passed for every `age`.
    for (ahead, passes) in [(1_000, true), (61_000 + 5_000, false), (86_400_000, false)] {
        let at = now() + ahead;
        keys.set_field(&browser.token(), "!a", at.to_string()).await;
        assert_eq!(recent().await.0.is_ok(), passes, "{ahead}");
    }
    keys.set_field(&browser.token(), "!a", at.to_string()).await;
    // Use does not make it recent; a login does.
    browser.set("a", 1).await;
    assert_eq!(recent().await.0, Err(true));
    browser
        .visit(|session| async move { session.login("alice").unwrap() })
        .await;
    assert!(recent().await.0.is_ok());
}
