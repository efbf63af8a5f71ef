//! Whether a server fits: its version and its eviction policy, from `INFO`.

use fred::{clients::Client, interfaces::ClientLike};

use super::connection::fred_error::classify;
use crate::error::{Error, Kind};

/// Refuses a server that is too old. Warns about one that may evict the keys of this crate.
pub(super) async fn check(client: &Client) -> Result<(), Error> {
    let info: String = match client.info(None).await {
        Ok(info) => info,
        Err(error) => {
            let error = classify(error);
            if error.is_unavailable() {
                return Err(error);
            }
            tracing::warn!(target: "tower_fred::redis", %error, "the server's version is unknown");
            return Ok(());
        }
    };
    if let Some(found) = too_old(&info) {
        return Err(Error::new(
            Kind::Unsupported,
            format!("{found} is too old: Redis 7.0 or Valkey 7.2 is needed"),
        ));
    }
    if let Some(policy) = evicting_policy(&info) {
        tracing::warn!(
            target: "tower_fred::redis",
            maxmemory_policy = policy,
            "the server may evict sessions and rate limits when its memory is full"
        );
    }
    Ok(())
}

/// Checks the server as soon as it is connected, for a handle that did not wait for it.
pub(super) async fn check_later(client: Client) {
    if client.wait_for_connect().await.is_ok() {
        if let Err(error) = check(&client).await {
            tracing::error!(target: "tower_fred::redis", %error, "the server cannot be used");
        }
    }
}

/// The eviction policy, if it may evict keys of this crate. They all have a time to live, so every policy but `noeviction`
/// may, also those that begin with `volatile-`.
fn evicting_policy(info: &str) -> Option<&str> {
    let policy = field(info, "maxmemory_policy:")?;
    let limited = field(info, "maxmemory:")? != "0";
    (limited && policy != "noeviction").then_some(policy)
}

fn field<'a>(info: &'a str, name: &str) -> Option<&'a str> {
    info.lines()
        .find_map(|line| line.strip_prefix(name))
        .map(str::trim)
}

/// The name and version of a server that is too old: it lacks `SET … NX GET` or `PEXPIREAT … GT`.
fn too_old(info: &str) -> Option<String> {
    let version = |name| {
        let text = field(info, name)?;
        let mut parts = text.split('.').map(|part| part.parse::<u32>().ok());
        Some((text, (parts.next()??, parts.next().flatten().unwrap_or(0))))
    };
    // Valkey also reports the Redis version that it is compatible with.
    let (name, (text, found), least) = match version("valkey_version:") {
        Some(valkey) => ("Valkey", valkey, (7, 2)),
        None => ("Redis", version("redis_version:")?, (7, 0)),
    };
    (found < least).then(|| format!("{name} {text}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions() {
        assert_eq!(
            too_old("redis_version:6.2.14\r\n").as_deref(),
            Some("Redis 6.2.14")
        );
        assert_eq!(too_old("# Server\r\nredis_version:7.0.15\r\n"), None);
        assert_eq!(
            too_old("redis_version:7.2.4\r\nvalkey_version:7.1.0\r\n").as_deref(),
            Some("Valkey 7.1.0")
        );
        assert_eq!(
            too_old("redis_version:7.2.4\r\nvalkey_version:8.0.1\r\n"),
            None
        );
        // A server that does not tell its version is let through.
        assert_eq!(too_old("server:other\r\n"), None);
    }

    #[test]
    fn only_limited_memory_is_evicted_and_by_every_policy_but_one() {
        let info =
            |limit: u64, policy| format!("maxmemory:{limit}\r\nmaxmemory_policy:{policy}\r\n");
        // Regression: there was no warning for `volatile-…`, although all keys of this crate have a time to live.
        for policy in [
            "allkeys-lru",
            "allkeys-lfu",
            "allkeys-random",
            "allkeys-lrm",
            "volatile-lru",
            "volatile-lfu",
            "volatile-random",
            "volatile-ttl",
            "volatile-lrm",
        ] {
            assert_eq!(evicting_policy(&info(1, policy)), Some(policy));
            assert_eq!(evicting_policy(&info(0, policy)), None);
        }
        assert_eq!(evicting_policy(&info(1, "noeviction")), None);
        assert_eq!(evicting_policy(""), None);
    }
}
