//! Checks of the keys that are left in Redis.

use tower_fred::fred::{clients::Client, interfaces::KeysInterface};

use super::command::run;

/// Asserts that there are keys on these servers, all in `namespace`, and that each has a time to live.
pub async fn assert_ours_and_bounded(admins: &[Client], namespace: &str) {
    let mut found = 0;
    for admin in admins {
        let keys: Vec<String> = run(admin, "KEYS", &["*"]).await.expect("keys");
        for key in keys {
            found += 1;
            let prefix = format!("{namespace}:");
            assert!(key.starts_with(&prefix), "{key} is not in {namespace}");
            // -1: the key has no time to live. -2: it expired after KEYS.
            let left: i64 = admin.pttl(&key).await.expect("pttl");
            assert_ne!(left, -1, "{key} has no time to live");
        }
    }
    assert!(found > 0, "no keys in {namespace}");
}

/// Asserts that the server of `admin` has no keys in its database.
pub async fn assert_none(admin: &Client) {
    let keys: Vec<String> = run(admin, "KEYS", &["*"]).await.expect("keys");
    assert!(keys.is_empty(), "{keys:?}");
}
