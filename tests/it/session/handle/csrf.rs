//! CSRF tokens.

use tower_fred::{SessionLayer, session::SessionStore};

use crate::session::browser::{Browser, Place};

#[tokio::test]
async fn d33_a_csrf_token_is_good_in_its_session_until_the_next_login() {
    check_d33_csrf(&Place::server()).await;
}

pub(crate) async fn check_d33_csrf(place: &Place) {
    let (_, redis, keys) = place.stage().await;
    let store = SessionStore::new(redis).renew_every(std::time::Duration::from_secs(3600));
    let layer = SessionLayer::over(store);
    let token_of = |browser: &Browser| {
        let browser = browser.copy();
        async move {
            let visit = browser
                .visit(|session| async move { session.csrf_token().await.expect("an answer") });
            visit.await.value
        }
    };
    async fn check(browser: &Browser, token: &str) -> Result<(), bool> {
        let token = token.to_owned();
        let visit = browser.visit(|session| async move { session.check_csrf(&token).await });
        let result = visit.await.value;
        result.map_err(|error| error.is_forbidden())
    }
    let (one, other) = (
        Browser::with_session(&layer).await,
        Browser::with_session(&layer).await,
    );
    let token = token_of(&one).await;
    assert_eq!(token.len(), 43);
    assert_ne!(token, token_of(&one).await, "it is masked anew");
    assert_eq!(check(&one, &token).await, Ok(()));
    assert_eq!(check(&other, &token).await, Err(true));
    assert_eq!(check(&Browser::new(&layer), &token).await, Err(true));
    for index in 0..43 {
        let mut bent = token.clone().into_bytes();
        bent[index] = if bent[index] == b'A' { b'B' } else { b'A' };
        let bent = String::from_utf8(bent).expect("an answer");
        assert_eq!(check(&one, &bent).await, Err(true), "{index}");
    }
    for bad in ["", "x", "ä", &"A".repeat(43), &"A".repeat(1000)] {
        assert_eq!(check(&one, bad).await, Err(true), "{bad}");
    }
    // Neither the cookie nor what is in Redis has it.
    assert!(!one.token().contains(&token[..20]));

    // A form that was open over a renewal still works; one from before a login does not.
    keys.set_field(&one.token(), "!n", "1").await;
    let before = one.token();
    assert_eq!(check(&one, &token).await, Ok(()));
    assert_ne!(one.token(), before);
    assert_eq!(check(&one, &token).await, Ok(()));
    let answer = one
        .visit(|session| async move {
            session.login("alice").expect("an answer");
            // The page that the login answers with.
            session.csrf_token().await.expect("an answer")
        })
        .await;
    assert_eq!(answer.set_cookies().len(), 1);
    assert_eq!(check(&one, &token).await, Err(true));
    assert_eq!(check(&one, &answer.value).await, Ok(()));
    one.visit(|session| async move { session.rotate() }).await;
    assert_eq!(check(&one, &answer.value).await, Err(true));
}

#[tokio::test]
async fn a_csrf_token_of_a_visitor_begins_a_session() {
    let place = Place::server();
    let (layer, ..) = place.stage().await;
    let browser = Browser::new(&layer);
    let answer = browser
        .visit(|session| async move {
            assert!(session.check_csrf("x").await.is_err());
            session.csrf_token().await.unwrap()
        })
        .await;
    assert_eq!(answer.set_cookies().len(), 1);
    let token = answer.value;
    let answer = browser.visit(|session| async move { session.check_csrf(&token).await });
    answer.await.value.unwrap();
}
