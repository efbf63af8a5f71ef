//! Secrets stored under a pepper.

use tower_fred::{SessionLayer, session::SessionStore};

use crate::session::browser::{Browser, Place};

#[tokio::test]
async fn d23_under_a_pepper_a_record_of_somebody_with_access_to_redis_opens_nothing() {
    check_d23_pepper(&Place::server()).await;
}

pub(crate) async fn check_d23_pepper(place: &Place) {
    let (plain, redis, keys) = place.stage().await;
    let store = SessionStore::new(redis);
    let (old, new) = ([1; 32], [2; 32]);
    let peppered = SessionLayer::over(store.clone().pepper(old));
    // Whoever can write to Redis writes a record whose secret they know, as a server without pepper does.
    let forged = Browser::logged_in(&plain, "root").await;
    let cookie = forged.cookie_header().expect("an answer");
    let user = |layer: &SessionLayer, cookie: &str| {
        let (layer, cookie) = (layer.clone(), cookie.to_owned());
        async move {
            let cookies = [cookie.as_bytes()];
            let answer = crate::session::browser::send(&layer, &cookies, |session| async move {
                (
                    http::StatusCode::OK,
                    session.user().await.expect("an answer"),
                )
            });
            answer.await.value
        }
    };
    assert_eq!(user(&plain, &cookie).await.as_deref(), Some("root"));
    assert_eq!(user(&peppered, &cookie).await, None);

    // Rotation of the pepper logs nobody out, and stores the new hash with the next write.
    let browser = Browser::logged_in(&peppered, "alice").await;
    let cookie = browser.cookie_header().expect("an answer");
    let rotated = SessionLayer::over(store.clone().pepper(new).previous_pepper(old));
    let only_new = SessionLayer::over(store.clone().pepper(new));
    assert_eq!(user(&only_new, &cookie).await, None);
    assert_eq!(user(&rotated, &cookie).await.as_deref(), Some("alice"));
    let before = keys.field(&browser.token(), "!h").await;
    let cookies = [cookie.as_bytes()];
    let write = crate::session::browser::send(&rotated, &cookies, |session| async move {
        assert!(session.user().await.expect("an answer").is_some());
        session.insert("a", &1).expect("an answer");
        (http::StatusCode::OK, ())
    });
    write.await.assert_no_cookie();
    assert_ne!(keys.field(&browser.token(), "!h").await, before);
    assert_eq!(user(&only_new, &cookie).await.as_deref(), Some("alice"));
    // Debug shows no key.
    let shown = format!("{rotated:?}");
    assert!(!shown.contains("[2, 2"), "{shown}");
}
