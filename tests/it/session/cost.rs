//! What each kind of request costs, counted by the server.

use http::StatusCode;
use tower_fred::Session;

use super::browser::{Answer, Browser, stage};
use crate::support::{Counts, Server};

/// The commands of a visit, after the scripts were loaded by the visits that made the session.
async fn cost<T: Send + 'static, Fut>(
    server: &Server,
    browser: &Browser,
    handler: impl FnOnce(Session) -> Fut,
) -> (Counts, Answer<T>)
where
    Fut: Future<Output = T> + Send + 'static,
{
    server.count(browser.visit(handler)).await
}

fn assert_scripts(counts: &Counts, scripts: u64) {
    assert_eq!(counts.of("evalsha"), scripts, "{counts:?}");
    assert_eq!(counts.of("eval"), 0, "{counts:?}");
}

/// Commands that clients sent, with those that a script ran inside left out.
fn assert_reads(counts: &Counts, reads: u64) {
    assert_eq!(counts.of("hgetall"), reads, "{counts:?}");
}

#[tokio::test]
async fn d16_an_anonymous_request_costs_nothing_whether_it_reads_or_not() {
    let server = Server::start();
    let (layer, ..) = stage(&server).await;
    let browser = Browser::new(&layer);
    let (counts, answer) = cost(&server, &browser, |session| async move {
        assert_eq!(session.get::<i64>("a").await.unwrap(), None);
        assert_eq!(session.user().await.unwrap(), None);
        assert_eq!(session.id(), None);
        session.remove("a");
        session.rotate();
    })
    .await;
    assert_eq!(counts.total(), 0, "{counts:?}");
    answer.assert_no_cookie();
}

#[tokio::test]
async fn an_untouched_session_costs_nothing() {
    let server = Server::start();
    let (layer, ..) = stage(&server).await;
    let browser = Browser::with_session(&layer).await;
    let (counts, answer) = cost(&server, &browser, |_| async {}).await;
    assert_eq!(counts.total(), 0, "{counts:?}");
    answer.assert_no_cookie();
    assert!(answer.headers.is_empty(), "{:?}", answer.headers);
}

#[tokio::test]
async fn any_number_of_reads_is_one_round_trip() {
    let server = Server::start();
    let (layer, ..) = stage(&server).await;
    let browser = Browser::with_session(&layer).await;
    let (counts, answer) = cost(&server, &browser, |session| async move {
        let clone = session.clone();
        // At once, from clones, and again.
        let (one, other) = tokio::join!(session.get::<i64>("seed"), clone.get::<i64>("other"));
        assert_eq!((one.unwrap(), other.unwrap()), (Some(1), None));
        assert_eq!(session.user().await.unwrap(), None);
        assert_eq!(session.id().unwrap().len(), 22);
    })
    .await;
    assert_reads(&counts, 1);
    assert_eq!(counts.total(), 1, "{counts:?}");
    answer.assert_no_cookie();
    assert_eq!(answer.all(http::header::VARY), ["Cookie"]);
}

#[tokio::test]
async fn a_blind_write_is_one_script() {
    let server = Server::start();
    let (layer, ..) = stage(&server).await;
    let browser = Browser::with_session(&layer).await;
    browser.set("warm", 1).await;
    let (counts, answer) = cost(&server, &browser, |session| async move {
        session.insert("a", &1).unwrap();
        session.remove("seed");
        // Its own write needs no load.
        assert_eq!(session.get::<i64>("a").await.unwrap(), Some(1));
        assert_eq!(session.get::<i64>("seed").await.unwrap(), None);
    })
    .await;
    assert_scripts(&counts, 1);
    assert_reads(&counts, 0);
    answer.assert_no_cookie();
    assert!(!answer.headers.contains_key("vary"));
    assert_eq!(browser.get("a").await, Some(1));
    assert_eq!(browser.get("seed").await, None);
}

#[tokio::test]
async fn a_read_and_a_write_are_two_round_trips() {
    let server = Server::start();
    let (layer, ..) = stage(&server).await;
    let browser = Browser::with_session(&layer).await;
    browser.set("warm", 1).await;
    let (counts, answer) = cost(&server, &browser, |session| async move {
        let seed: i64 = session.get("seed").await.unwrap().unwrap();
        session.insert("seed", &(seed + 1)).unwrap();
        assert_eq!(session.get::<i64>("seed").await.unwrap(), Some(2));
    })
    .await;
    assert_scripts(&counts, 1);
    assert_reads(&counts, 1);
    answer.assert_no_cookie();
    assert_eq!(browser.get("seed").await, Some(2));
}

#[tokio::test]
async fn a_value_equal_to_the_loaded_one_is_not_written() {
    let server = Server::start();
    let (layer, ..) = stage(&server).await;
    let browser = Browser::with_session(&layer).await;
    let (counts, answer) = cost(&server, &browser, |session| async move {
        session.get::<i64>("seed").await.unwrap();
        session.insert("seed", &2).unwrap();
        session.insert("seed", &1).unwrap();
        session.remove("absent");
    })
    .await;
    assert_eq!(counts.total(), 1, "{counts:?}");
    answer.assert_no_cookie();
}

#[tokio::test]
async fn the_first_write_is_one_script_and_a_cookie() {
    let server = Server::start();
    let (layer, ..) = stage(&server).await;
    Browser::with_session(&layer).await;
    let browser = Browser::new(&layer);
    let (counts, answer) = cost(&server, &browser, |session| async move {
        assert_eq!(session.get::<i64>("a").await.unwrap(), None);
        session.insert("a", &1).unwrap();
    })
    .await;
    assert_scripts(&counts, 1);
    assert_reads(&counts, 0);
    assert_eq!(answer.set_cookies().len(), 1);
    assert_eq!(browser.get("a").await, Some(1));
}

/// The session and the list of its user are in different slots of a cluster: a script for each. A session that is not known
/// yet is read first, so that nobody lists one that is not theirs.
#[tokio::test]
async fn a_login_is_a_read_and_two_scripts() {
    let server = Server::start();
    let (layer, ..) = stage(&server).await;
    let browser = Browser::logged_in(&layer, "alice").await;
    for read in [false, true] {
        let (counts, answer) = cost(&server, &browser, move |session| async move {
            if read {
                session.get::<i64>("seed").await.unwrap();
            }
            session.login("alice").unwrap();
        })
        .await;
        assert_scripts(&counts, 2);
        assert_reads(&counts, 1);
        assert_eq!(answer.set_cookies().len(), 1);
        assert_eq!(answer.headers.contains_key(http::header::VARY), read);
    }
    // A session that changes hands is taken out of the other list.
    let (counts, _) = cost(&server, &browser, |session| async move {
        session.login("bob").unwrap();
        assert_eq!(session.user().await.unwrap().as_deref(), Some("bob"));
    })
    .await;
    assert_eq!(counts.of("evalsha") + counts.of("eval"), 4, "{counts:?}");
    assert_reads(&counts, 1);
    assert_eq!(browser.user().await.as_deref(), Some("bob"));
    assert_eq!(browser.get("seed").await, None);

    let browser = Browser::new(&layer);
    let (counts, answer) = cost(&server, &browser, |session| async move {
        session.login("alice").unwrap();
    })
    .await;
    // Begun, listed, made the user's.
    assert_scripts(&counts, 3);
    assert_reads(&counts, 0);
    assert_eq!(answer.set_cookies().len(), 1);
}

#[tokio::test]
async fn a_logout_is_one_script_and_two_for_a_user() {
    let server = Server::start();
    let (layer, ..) = stage(&server).await;
    Browser::logged_in(&layer, "alice").await.log_out().await;
    let (user, nobody) = (
        Browser::logged_in(&layer, "alice").await,
        Browser::with_session(&layer).await,
    );
    for (browser, scripts) in [(user, 2), (nobody, 1)] {
        let (counts, answer) =
            cost(&server, &browser, |session| async move { session.logout() }).await;
        assert_scripts(&counts, scripts);
        assert_reads(&counts, 0);
        answer.assert_removes_cookie();
    }
}

#[tokio::test]
async fn an_addition_is_one_script_and_an_update_a_read_and_one() {
    let server = Server::start();
    let (layer, ..) = stage(&server).await;
    let browser = Browser::with_session(&layer).await;
    browser.set("warm", 1).await;
    let (counts, answer) = cost(&server, &browser, |session| async move {
        session.incr("seed", 2).await.unwrap()
    })
    .await;
    assert_eq!(answer.value, 3);
    assert_scripts(&counts, 1);
    assert_reads(&counts, 0);
    let (counts, answer) = cost(&server, &browser, |session| async move {
        session
            .update("seed", |seed: Option<i64>| seed.unwrap() * 2)
            .await
            .unwrap()
    })
    .await;
    assert_eq!(answer.value, 6);
    assert_scripts(&counts, 1);
    assert_reads(&counts, 1);
}

#[tokio::test]
async fn a_commit_in_the_handler_is_not_repeated_by_the_response() {
    let server = Server::start();
    let (layer, _, keys) = stage(&server).await;
    let browser = Browser::with_session(&layer).await;
    browser.set("warm", 1).await;
    let token = browser.token();
    let field = {
        let browser = &browser;
        let (counts, answer) = cost(&server, browser, |session| async move {
            session.insert("a", &1).unwrap();
            session.commit().await.unwrap();
            session.commit().await.unwrap();
            session.id()
        })
        .await;
        assert_scripts(&counts, 1);
        answer.assert_no_cookie();
        assert_eq!(answer.value.unwrap()[..21], token[..21]);
        keys.field(&token, "a").await
    };
    assert_eq!(field.as_deref(), Some(&b"1"[..]));
}

#[tokio::test]
async fn a_session_made_by_a_commit_in_the_handler_gets_its_cookie_also_from_a_5xx() {
    let server = Server::shared();
    let (layer, ..) = stage(&server).await;
    let browser = Browser::new(&layer);
    let answer = browser
        .visit_as(StatusCode::BAD_GATEWAY, |session| async move {
            session.insert("a", &1).unwrap();
            session.commit().await.unwrap();
            session.insert("b", &1).unwrap();
            session.login("alice").unwrap();
        })
        .await;
    assert_eq!(answer.set_cookies().len(), 1);
    assert_eq!(browser.get("a").await, Some(1));
    assert_eq!(browser.get("b").await, None);
    assert_eq!(browser.user().await, None);
}

#[tokio::test]
async fn a_5xx_drops_changes_but_not_a_logout() {
    let server = Server::shared();
    let (layer, _, keys) = stage(&server).await;
    let browser = Browser::logged_in(&layer, "alice").await;
    let answer = browser
        .visit_as(StatusCode::INTERNAL_SERVER_ERROR, |session| async move {
            session.insert("seed", &2).unwrap();
            session.rotate();
        })
        .await;
    answer.assert_no_cookie();
    assert_eq!(browser.get("seed").await, Some(1));

    let token = browser.token();
    let answer = browser
        .visit_as(StatusCode::INTERNAL_SERVER_ERROR, |session| async move {
            session.logout();
        })
        .await;
    answer.assert_removes_cookie();
    assert!(!keys.exists(&token).await);
}
