//! Another user logs in on the same browser: what the session keeps.

use serde::{Deserialize, Serialize};
use tower_fred::session::Login;

use crate::session::browser::{Browser, Place};

#[derive(Default, Serialize, Deserialize)]
struct Rights {
    is_admin: bool,
}

/// A session in which alice is an administrator with a cart and a message that waits.
async fn administrator(place: &Place) -> (Browser, crate::session::browser::Keys) {
    let (layer, _, keys) = place.stage().await;
    let browser = Browser::logged_in(&layer, "alice").await;
    browser
        .visit(|session| async move {
            let mut rights = session.typed::<Rights>().await.expect("an answer");
            rights.is_admin = true;
            rights.save().expect("an answer");
            session.insert("cart", &1).expect("an answer");
            session.flash("for alice").expect("an answer");
        })
        .await;
    assert_eq!(browser.get("cart").await, Some(1));
    (browser, keys)
}

/// How many values are stored, and how many the record counts.
async fn counted(
    keys: &crate::session::browser::Keys,
    browser: &Browser,
) -> (usize, String, String) {
    use tower_fred::fred::interfaces::HashesInterface;
    let key = keys.key(&browser.token());
    let all: std::collections::HashMap<String, bytes::Bytes> =
        keys.admin.hgetall(key).await.expect("an answer");
    let own = all.iter().filter(|(name, _)| !name.starts_with('!'));
    let (mut count, mut bytes) = (0, 0);
    for (name, value) in own {
        count += 1;
        bytes += name.len() + value.len();
    }
    let text = |name: &str| String::from_utf8(all[name].to_vec()).expect("an answer");
    assert_eq!(
        (text("!f"), text("!b")),
        (count.to_string(), bytes.to_string())
    );
    (count, text("!f"), text("!b"))
}

#[tokio::test]
async fn another_user_inherits_nothing() {
    check_another_user_inherits_nothing(&Place::server()).await;
}

/// The values stayed, so that the next user of a shared browser was an administrator, too.
pub(crate) async fn check_another_user_inherits_nothing(place: &Place) {
    for read_first in [false, true] {
        for commit in [false, true] {
            let (browser, keys) = administrator(place).await;
            browser
                .visit(move |session| async move {
                    if read_first {
                        assert_eq!(
                            session.get::<i64>("cart").await.expect("an answer"),
                            Some(1)
                        );
                    }
                    // Still alice's: it goes with her.
                    session.insert("before", &1).expect("an answer");
                    session.insert("both", &1).expect("an answer");
                    session.flash("before").expect("an answer");
                    session.login("bob").expect("an answer");
                    session.insert("both", &2).expect("an answer");
                    session.insert("after", &2).expect("an answer");
                    session.flash("welcome").expect("an answer");
                    if commit {
                        session.commit().await.expect("an answer");
                    }
                    // The same request sees what the next one will.
                    for (key, value) in [
                        ("cart", None),
                        ("seed", None),
                        ("before", None),
                        ("both", Some(2)),
                        ("after", Some(2)),
                    ] {
                        assert_eq!(
                            session.get::<i64>(key).await.expect("an answer"),
                            value,
                            "{key}"
                        );
                    }
                    assert!(!session.typed::<Rights>().await.expect("an answer").is_admin);
                })
                .await;
            assert_eq!(browser.user().await.as_deref(), Some("bob"));
            let (count, ..) = counted(&keys, &browser).await;
            assert_eq!(count, 3, "both, after, the message");
            let messages = browser.visit(|session| async move {
                assert!(!session.typed::<Rights>().await.expect("an answer").is_admin);
                assert_eq!(session.get::<i64>("cart").await.expect("an answer"), None);
                assert_eq!(
                    session.get::<i64>("both").await.expect("an answer"),
                    Some(2)
                );
                session.take_flashes::<String>().await.expect("an answer")
            });
            assert_eq!(messages.await.value, ["welcome"]);
        }
    }
}

#[tokio::test]
async fn what_the_next_login_does_not_change_hands_with_stays() {
    let place = Place::server();
    // The same user again, and another for whom it is said.
    for (login, user) in [
        (Login::of("alice"), "alice"),
        (Login::of("bob").keeping_values(), "bob"),
    ] {
        let (browser, keys) = administrator(&place).await;
        let answer = browser.visit(move |session| async move {
            session.insert("before", &1).expect("an answer");
            session.login(login).expect("an answer");
            assert_eq!(
                session.get::<i64>("before").await.expect("an answer"),
                Some(1)
            );
            assert_eq!(
                session.get::<i64>("cart").await.expect("an answer"),
                Some(1)
            );
        });
        answer.await;
        assert_eq!(browser.user().await.as_deref(), Some(user));
        assert_eq!(browser.get("before").await, Some(1));
        let messages = browser.visit(|session| async move {
            assert!(session.typed::<Rights>().await.expect("an answer").is_admin);
            session.take_flashes::<String>().await.expect("an answer")
        });
        assert_eq!(messages.await.value, ["for alice"]);
        counted(&keys, &browser).await;
    }
    // Nobody's cart becomes the user's, with what the request of the login put into it.
    let (layer, _, keys) = place.stage().await;
    for browser in [Browser::with_session(&layer).await, Browser::new(&layer)] {
        let had = browser.cookie_header().is_some();
        let answer = browser.visit(|session| async move {
            session.insert("cart", &7).expect("an answer");
            session.login("alice").expect("an answer");
            session.insert("theme", &1).expect("an answer");
        });
        answer.await;
        assert_eq!(browser.get("cart").await, Some(7));
        assert_eq!(browser.get("theme").await, Some(1));
        assert_eq!(browser.get("seed").await, had.then_some(1));
        counted(&keys, &browser).await;
    }
}

/// Two users in one request: nothing of the first is the second's, whoever had the session.
#[tokio::test]
async fn two_logins_of_one_request_are_two_users() {
    let place = Place::server();
    let (layer, ..) = place.stage().await;
    for commit in [false, true] {
        for browser in [
            Browser::new(&layer),
            Browser::with_session(&layer).await,
            Browser::logged_in(&layer, "bob").await,
            Browser::logged_in(&layer, "carol").await,
        ] {
            let answer = browser.visit(move |session| async move {
                session.login("alice").expect("an answer");
                session.insert("is_admin", &1).expect("an answer");
                if commit {
                    session.commit().await.expect("an answer");
                }
                session.login("bob").expect("an answer");
                assert_eq!(
                    session.get::<i64>("is_admin").await.expect("an answer"),
                    None
                );
                session.insert("after", &1).expect("an answer");
            });
            answer.await;
            assert_eq!(browser.user().await.as_deref(), Some("bob"));
            assert_eq!(browser.get("is_admin").await, None);
            assert_eq!(browser.get("after").await, Some(1));
        }
    }
}
