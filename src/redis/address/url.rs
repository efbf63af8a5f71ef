//! The URL of a deployment, read into fred's settings for it.
//!
//! No error of this file quotes the URL: any part of it may be a piece of a password that was not percent-encoded.

use fred::types::config::{ClusterDiscoveryPolicy, Config, Server, ServerConfig};

use super::{
    diagnosis::show,
    url_parts::{Address, Parts, Query, decode, invalid},
};
use crate::error::Error;

/// fred's settings for a URL, and whether the URL asks for TLS, which the caller adds.
pub(crate) fn parse(url: &str) -> Result<(Config, bool), Error> {
    let parts = Parts::split(url)?;
    let (kind, secure) = kind(parts.scheme)?;
    let query = Query::read(parts.query)?;
    let (username, password) = parts.credentials()?;
    let mut config = Config {
        username,
        password,
        ..Config::default()
    };
    (config.server, config.database) = match kind {
        Kind::Single => single(&parts, &query)?,
        Kind::Cluster => cluster(&parts, &query)?,
        Kind::Sentinel => sentinel(&parts, &query)?,
        Kind::Unix => unix(&parts, &query)?,
    };
    Ok((config, secure))
}

/// What a scheme stands for.
#[derive(Clone, Copy)]
enum Kind {
    Single,
    Cluster,
    Sentinel,
    Unix,
}

fn kind(scheme: &str) -> Result<(Kind, bool), Error> {
    let scheme = scheme.to_ascii_lowercase();
    let (base, kind) = [
        ("-cluster", Kind::Cluster),
        ("-sentinel", Kind::Sentinel),
        ("+unix", Kind::Unix),
    ]
    .into_iter()
    .find_map(|(suffix, kind)| Some((scheme.strip_suffix(suffix)?, kind)))
    .unwrap_or((&scheme, Kind::Single));
    match (base, kind) {
        ("redis" | "valkey", _) => Ok((kind, false)),
        ("rediss" | "valkeys", Kind::Unix) => Err(invalid("a unix socket has no TLS")),
        ("rediss" | "valkeys", _) if cfg!(feature = "tls") => Ok((kind, true)),
        ("rediss" | "valkeys", _) => Err(Error::config(
            "TLS was asked for, but the feature `tls` of tower-fred is off",
        )),
        _ => {
            let foreign = FOREIGN.into_iter().find(|foreign| *foreign == scheme);
            let named = foreign.map_or(String::new(), |foreign| format!(" `{foreign}`"));
            Err(Error::config(format!(
                "invalid redis URL: unknown scheme{named}: it is redis://, rediss://, redis-cluster://, \
                 redis-sentinel:// or redis+unix://, or one with valkey"
            )))
        }
    }
}

type Place = (ServerConfig, Option<u8>);

fn single(parts: &Parts<'_>, query: &Query) -> Result<Place, Error> {
    query.refuse_nodes("one server")?;
    query.refuse_sentinel()?;
    let server = Address::read(parts.host, Some(6379))?.server();
    Ok((
        ServerConfig::Centralized { server },
        database(parts.path, query)?,
    ))
}

fn cluster(parts: &Parts<'_>, query: &Query) -> Result<Place, Error> {
    query.refuse_sentinel()?;
    let hosts = hosts(parts, query, 6379)?;
    // fred's cluster client, which `Redis::client` gives, can use no other: the two would see different keys.
    if database(parts.path, query)?.is_some_and(|database| database != 0) {
        return Err(invalid(
            "a cluster is used with database 0 only, as fred selects no other there",
        ));
    }
    let policy = ClusterDiscoveryPolicy::default();
    Ok((ServerConfig::Clustered { hosts, policy }, None))
}

fn sentinel(parts: &Parts<'_>, query: &Query) -> Result<Place, Error> {
    let service_name = query.service_name.clone().filter(|name| !name.is_empty());
    let service_name =
        service_name.ok_or_else(|| invalid("a sentinel URL needs sentinelServiceName=…"))?;
    let server = ServerConfig::Sentinel {
        hosts: hosts(parts, query, 26379)?,
        service_name,
        username: query.sentinel_username.clone(),
        password: query.sentinel_password.clone(),
    };
    Ok((server, database(parts.path, query)?))
}

fn unix(parts: &Parts<'_>, query: &Query) -> Result<Place, Error> {
    query.refuse_nodes("a unix socket")?;
    query.refuse_sentinel()?;
    let has_host = parts.credentials.is_some() || !parts.host.is_empty();
    // What comes before the path is ignored as a host, unless a password with a slash may have been cut in two.
    if has_host && parts.path.contains('@') {
        return Err(invalid(
            "an @ in a unix socket's path is written %40 where there are credentials",
        ));
    }
    if parts.credentials.is_none() && !matches!(parts.host, "" | "localhost") {
        return Err(invalid("a unix socket's URL begins with redis+unix:///"));
    }
    let path = decode(parts.path, "the path of the unix socket")?;
    if path.len() < 2 {
        return Err(invalid("a unix socket has a path"));
    }
    Ok((ServerConfig::Unix { path: path.into() }, query.database()?))
}

/// The servers that the URL names: those of `node=…`, and the one in the host's place.
fn hosts(parts: &Parts<'_>, query: &Query, port: u16) -> Result<Vec<Server>, Error> {
    let first = Address::read(parts.host, Some(port))?;
    let others = query.nodes.iter().map(|node| Address::read(node, None));
    others
        .chain([Ok(first)])
        .map(|address| Ok(address?.server()))
        .collect()
}

/// The database in the path or in `db=…`.
fn database(path: &str, query: &Query) -> Result<Option<u8>, Error> {
    let in_path = match path.strip_prefix('/').unwrap_or(path) {
        "" => None,
        text => Some(text.parse().map_err(|_| {
            invalid("the path is a database's number, 0 to 255 (a / in a password is written %2F)")
        })?),
    };
    match (in_path, query.database()?) {
        (Some(first), Some(second)) if first != second => {
            Err(invalid("it names two databases, in the path and in db=…"))
        }
        (in_path, in_query) => Ok(in_path.or(in_query)),
    }
}

/// The server's name in messages: hosts and ports, never credentials.
pub(crate) fn describe(server: &ServerConfig) -> String {
    match server {
        ServerConfig::Unix { path } => path.display().to_string(),
        other => {
            let hosts: Vec<String> = other.hosts().iter().map(show).collect();
            hosts.join(", ")
        }
    }
}

/// Schemes that an error may name: nobody's password is one of them.
const FOREIGN: [&str; 12] = [
    "amqp",
    "ftp",
    "http",
    "https",
    "memcached",
    "mysql",
    "postgres",
    "postgresql",
    "ssl",
    "tcp",
    "tls",
    "unix",
];

#[cfg(test)]
mod tests {
    use super::*;

    fn config(url: &str) -> Config {
        parse(url)
            .unwrap_or_else(|error| panic!("{url}: {error}"))
            .0
    }

    #[test]
    fn every_part_is_read() {
        let found = config("valkey://u:p%40s%3As@h:1/2");
        assert_eq!(found.username.as_deref(), Some("u"));
        assert_eq!(found.password.as_deref(), Some("p@s:s"));
        assert_eq!(describe(&found.server), "h:1");
        assert_eq!(found.database, Some(2));
        // An @ or a : in a password that was not encoded is still clear.
        assert_eq!(
            config("redis://:p@s:s@h").password.as_deref(),
            Some("p@s:s")
        );
        assert_eq!(config(" REDIS://h\n").database, None);

        let found = config("redis-cluster://a:1?node=b:2&node=c:3");
        assert_eq!(describe(&found.server), "b:2, c:3, a:1");
        let found = config(
            "redis-sentinel://u:p@s:1/7?sentinelServiceName=m&node=t:2&sentinelUsername=w&sentinelPassword=a%26b",
        );
        let ServerConfig::Sentinel {
            hosts,
            service_name,
            username,
            password,
        } = found.server
        else {
            panic!("{found:?}");
        };
        assert_eq!((hosts.len(), service_name.as_str()), (2, "m"));
        assert_eq!(
            (username.as_deref(), password.as_deref()),
            (Some("w"), Some("a&b"))
        );
        assert_eq!(
            (found.database, found.password.as_deref()),
            (Some(7), Some("p"))
        );
        let found = config("redis+unix://u:p@any/run/my%20redis.sock");
        assert_eq!(describe(&found.server), "/run/my redis.sock");
        assert_eq!(found.password.as_deref(), Some("p"));
    }

    /// They were passed over, and database 0 was used.
    #[test]
    fn a_database_is_selected_or_refused_in_every_kind_of_url() {
        for url in [
            "redis://h/3",
            "redis://h?db=3",
            "redis://h/3?db=3",
            "redis+unix:///s?db=3",
            "redis+unix://u:p@h/s?db=3",
            "redis-sentinel://h/3?sentinelServiceName=m",
            "redis-sentinel://h?sentinelServiceName=m&db=3",
        ] {
            assert_eq!(config(url).database, Some(3), "{url}");
        }
        for url in [
            "redis-cluster://h/3",
            "redis-cluster://h?db=3",
            "redis://h/2?db=3",
            "redis://h/3/4",
            "redis://h/-1",
            "redis://h/256",
            "redis://h?db=",
            "redis://h?db=x",
            "redis://h?db=1&db=2",
            "redis+unix:///s?db=256",
        ] {
            let error = parse(url).expect_err(url);
            assert!(
                error.is_config() && error.to_string().contains("database"),
                "{url}: {error}"
            );
        }
        assert!(parse("redis-cluster://h/0").is_ok());
        assert!(parse("redis-cluster://h?db=0").is_ok());
    }

    /// `node=[::1]:7000` was refused, and a host in brackets is no name that TLS knows.
    #[test]
    fn an_ipv6_address_in_every_kind_of_url() {
        for (url, hosts) in [
            ("redis://[::1]", "[::1]:6379"),
            ("redis://u:p@[::1]:7/1", "[::1]:7"),
            (
                "redis-cluster://[::1]:7?node=[fd00:0::2]:8",
                "[fd00::2]:8, [::1]:7",
            ),
            ("redis-cluster://h:7?node=%5B::1%5D:8", "[::1]:8, h:7"),
            (
                "redis-sentinel://[::1]?sentinelServiceName=m&node=[::2]:8",
                "[::2]:8, [::1]:26379",
            ),
        ] {
            let server = config(url).server;
            assert_eq!(describe(&server), hosts, "{url}");
            assert!(
                server
                    .hosts()
                    .iter()
                    .all(|server| !server.host.contains('['))
            );
        }
        for url in [
            "redis://::1",
            "redis://::1:6379",
            "redis://[::1",
            "redis://::1]:6379",
            "redis://[]:1",
            "redis://[h]:1",
            "redis://[127.0.0.1]:1",
            "redis://[::1]6379",
            "redis-cluster://h?node=::1:7000",
            "redis-cluster://h?node=[::1]",
        ] {
            assert!(parse(url).expect_err(url).is_config(), "{url}");
        }
    }

    #[test]
    fn what_would_have_no_effect_is_refused() {
        for url in [
            "redis://h?node=b:2",
            "redis+unix:///s?node=b:2",
            "redis://h?sentinelServiceName=m",
            "redis-cluster://h?sentinelPassword=p",
            "redis-sentinel://h?sentinelServiceName=",
            "redis-sentinel://h",
            "redis-sentinel://h?sentinelServiceName=m&sentinelServiceName=n",
            "redis://h?ssl=true",
            "redis://h#3",
            "redis+unix://run/redis.sock",
            "redis+unix://",
        ] {
            assert!(parse(url).expect_err(url).is_config(), "{url}");
        }
    }

    #[test]
    fn schemes_are_checked() {
        for url in [
            "",
            "localhost:6379",
            "tls://h",
            "http://h",
            "redis://",
            "unix:///tmp/s",
            "redis://h:port",
            "redis-unix:///s",
            "redis+cluster://h",
        ] {
            assert!(parse(url).expect_err(url).is_config(), "{url}");
        }
    }

    #[test]
    fn tls_is_never_downgraded() {
        for scheme in ["rediss", "valkeys", "rediss-cluster", "RedisS"] {
            let parsed = parse(&format!("{scheme}://h"));
            assert_eq!(
                parsed.is_ok_and(|(_, secure)| secure),
                cfg!(feature = "tls"),
                "{scheme}"
            );
        }
        assert!(parse("rediss+unix:///tmp/s").is_err());
    }

    /// The scheme and the value of `node=` were quoted; what is not encoded may be cut anywhere.
    #[test]
    fn no_error_quotes_any_part_of_the_url() {
        const SECRET: &str = "hunter2";
        for url in WITH_A_SECRET {
            let error = parse(url).expect_err(url);
            assert!(error.is_config(), "{url}: {error:?}");
            let mut shown = format!("{error} {error:?} {error:#?}");
            let mut cause = std::error::Error::source(&error);
            while let Some(found) = cause {
                shown.push_str(&format!("{found} {found:?}"));
                cause = found.source();
            }
            assert!(!shown.contains(SECRET), "{url}: {shown}");
        }
    }

    const WITH_A_SECRET: [&str; 52] = [
        "hunter2",
        "hunter2://h",
        "hunter2@host://h",
        "u:hunter2@h:6379",
        "u:hunter2@redis://h",
        "redis+hunter2://h",
        "redis:hunter2@h",
        "redis://u:hunter2@h:port",
        "redis://u:hunter2@h:70000/x",
        "redis://u:hunter2@/1",
        "redis://u:hunter2/x@h:6379",
        "redis://u:1/hunter2@h:6379",
        "redis://u:1?hunter2@h:6379",
        "redis://u:1?hunter2=@h:6379",
        "redis://u:1#hunter2@h:6379",
        "redis://u:hunter2@h/x",
        "redis://u:hunter2@[::1",
        "redis://hunter2]:1",
        "redis://[hunter2]:1",
        "redis://h:hunter2",
        "redis://h hunter2",
        "redis://h/hunter2",
        "redis://h/1/hunter2",
        "redis://h?db=hunter2",
        "redis://h?hunter2",
        "redis://h?hunter2=1",
        "redis://h?password=hunter2",
        "redis://h#hunter2",
        "redis://%FF:hunter2@h",
        "redis://u:%FFhunter2@h",
        "redis://u:hunter2%FF@h",
        "redis-cluster://h?node=hunter2",
        "redis-cluster://h?node=u:hunter2@h:1",
        "redis-cluster://h?node=h:hunter2",
        "redis-cluster://h?node=hunter2@h:1",
        "redis-cluster://u:hunter2@h:1/3",
        "redis-cluster://h?node=%FFhunter2:1",
        "redis-sentinel://u:hunter2@h:1",
        "redis-sentinel://h?sentinelPassword=hunter2",
        "redis-sentinel://h?sentinelServiceName=m&sentinelPassword=%FFhunter2",
        "redis-sentinel://h?sentinelServiceName=m&sentinelPassword=a&hunter2",
        "redis-sentinel://h?sentinelServiceName=hunter2&node=h",
        "redis-sentinel://h?sentinelServiceName=%FFhunter2",
        "redis-sentinel://h?sentinelServiceName=hunter2&sentinelServiceName=m",
        "redis+unix://hunter2/s",
        "redis+unix://u:hunter2/s",
        "redis+unix://u:a/hunter2@h/s",
        "redis+unix://u:a@b/hunter2@h/s",
        "redis+unix://u:hunter2@h",
        "redis+unix:///s?db=hunter2",
        "redis+unix:///%FFhunter2",
        "rediss+unix://u:hunter2@h/s",
    ];
}
