//! Checks of the keys that are left in Redis.

use tower_fred::fred::{
    clients::Client,
    interfaces::{KeysInterface, LuaInterface},
};

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

/// How many keys of `namespace` have no time to live.
#[allow(dead_code, reason = "the soak looks at keys")]
pub async fn without_end(admin: &Client, namespace: &str) -> usize {
    admin
        .eval(WITHOUT_END, Vec::<String>::new(), format!("{namespace}:*"))
        .await
        .expect("a scan of all keys")
}

const WITHOUT_END: &str = "
    local cursor, count = '0', 0
    repeat
        local page = redis.call('SCAN', cursor, 'MATCH', ARGV[1], 'COUNT', 1000)
        cursor = page[1]
        for _, key in ipairs(page[2]) do
            if redis.call('PTTL', key) == -1 then count = count + 1 end
        end
    until cursor == '0'
    return count
";
