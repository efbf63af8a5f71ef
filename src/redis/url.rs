//! The URL of a deployment: its scheme, and fred's settings for it.

use fred::types::config::{Config, ServerConfig};

use crate::error::Error;

/// The settings in a URL, and whether it asks for TLS, which the caller sees to: fred would take the platform's root
/// certificates whatever ours are. The scheme is checked here too, since fred takes any unknown one for plain text.
pub(super) fn parse(url: &str) -> Result<(Config, bool), Error> {
    let Some((scheme, rest)) = url.split_once("://") else {
        return Err(Error::config(
            "invalid redis URL: no scheme, such as redis://",
        ));
    };
    let (base, suffix) = ["-cluster", "-sentinel", "+unix"]
        .iter()
        .find_map(|suffix| Some((scheme.strip_suffix(suffix)?, *suffix)))
        .unwrap_or((scheme, ""));
    let secure = match base {
        "redis" | "valkey" => false,
        "rediss" | "valkeys" if suffix == "+unix" => {
            return Err(Error::config("invalid redis URL: a unix socket has no TLS"));
        }
        "rediss" | "valkeys" if cfg!(feature = "tls") => true,
        "rediss" | "valkeys" => {
            return Err(Error::config(
                "TLS was asked for, but the feature `tls` of tower-fred is off",
            ));
        }
        _ => {
            return Err(Error::config(format!(
                "invalid redis URL: unknown scheme `{scheme}`"
            )));
        }
    };
    let config = Config::from_url(&format!("redis{suffix}://{rest}")).map_err(|error| {
        Error::config(format!("invalid redis URL: {}", error.details())).caused_by(error)
    })?;
    Ok((config, secure))
}

/// The server's name in messages: hosts and ports, never credentials.
pub(super) fn describe(server: &ServerConfig) -> String {
    match server {
        ServerConfig::Unix { path } => path.display().to_string(),
        other => {
            let hosts: Vec<String> = other.hosts().iter().map(ToString::to_string).collect();
            hosts.join(", ")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn schemes_are_checked() {
        for url in [
            "redis://h",
            "valkey://u:p%40ss@h:1/2",
            "redis-cluster://a:1?node=b:2",
            "redis-sentinel://s:1/1?sentinelServiceName=m",
            "redis+unix:///tmp/redis.sock",
        ] {
            assert!(parse(url).is_ok(), "{url}");
        }
        for url in [
            "",
            "localhost:6379",
            "tls://h",
            "http://h",
            "redis://",
            "unix:///tmp/s",
            "redis://h:port",
        ] {
            assert!(parse(url).expect_err(url).is_config(), "{url}");
        }
    }

    #[test]
    fn tls_is_never_downgraded() {
        assert_eq!(parse("rediss://h").is_ok(), cfg!(feature = "tls"));
        assert!(parse("rediss+unix:///tmp/s").is_err());
    }

    #[test]
    fn an_error_does_not_show_the_password() {
        let error = parse("redis://user:hunter2@h:port/x").expect_err("port");
        assert!(!format!("{error} {error:?}").contains("hunter2"));
    }
}
