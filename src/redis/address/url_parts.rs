//! The parts of a URL as they stand in its text, and the parameters of its query.
//!
//! No error of this file quotes what it read: any part may be a piece of a password that was not percent-encoded.

use std::net::Ipv6Addr;

use fred::types::config::Server;

use crate::error::Error;

/// `scheme://credentials@host/path?query`
pub(super) struct Parts<'a> {
    pub(super) scheme: &'a str,
    pub(super) credentials: Option<&'a str>,
    pub(super) host: &'a str,
    pub(super) path: &'a str,
    pub(super) query: &'a str,
}

impl<'a> Parts<'a> {
    pub(super) fn split(url: &'a str) -> Result<Self, Error> {
        let url = url.trim();
        let Some((scheme, rest)) = url.split_once("://") else {
            return Err(invalid("no scheme, such as redis://"));
        };
        if rest.contains(|c: char| c.is_whitespace() || c.is_control()) {
            return Err(invalid("it contains a space or a control character"));
        }
        if rest.contains('#') {
            return Err(invalid(
                "it has no fragment: a # in a password is written %23",
            ));
        }
        let (place, query) = rest.split_once('?').unwrap_or((rest, ""));
        let (authority, path) = place.split_at(place.find('/').unwrap_or(place.len()));
        let (credentials, host) = match authority.rsplit_once('@') {
            Some((credentials, host)) => (Some(credentials), host),
            None => (None, authority),
        };
        Ok(Self {
            scheme,
            credentials,
            host,
            path,
            query,
        })
    }

    /// The user and the password, each if there is one.
    pub(super) fn credentials(&self) -> Result<(Option<String>, Option<String>), Error> {
        let (user, password) = match self.credentials {
            Some(credentials) => credentials.split_once(':').unwrap_or((credentials, "")),
            None => return Ok((None, None)),
        };
        let user = decode(user, "the user")?;
        let password = decode(password, "the password")?;
        let given = |text: String| (!text.is_empty()).then_some(text);
        Ok((given(user), given(password)))
    }
}

/// A host and a port. An IPv6 address is without its brackets, as TLS and servers write it.
pub(super) struct Address {
    host: String,
    port: u16,
}

impl Address {
    /// Reads `host`, `host:port`, `[address]` or `[address]:port`.
    pub(super) fn read(text: &str, default_port: Option<u16>) -> Result<Self, Error> {
        let (host, port) = match text.strip_prefix('[') {
            Some(rest) => {
                let in_brackets = rest.split_once(']').and_then(|(address, port)| {
                    let address: Ipv6Addr = address.parse().ok()?;
                    Some((address.to_string(), port))
                });
                in_brackets.ok_or_else(|| invalid("what is in brackets is no IPv6 address"))?
            }
            None => {
                let (host, port) = text.split_at(text.find(':').unwrap_or(text.len()));
                if port.matches(':').count() > 1 {
                    return Err(invalid(
                        "a host has more than one colon; an IPv6 address is written in brackets, as [::1]:6379",
                    ));
                }
                if host.is_empty() || !host.chars().all(is_of_a_name) {
                    return Err(invalid(
                        "a host is missing, or has a character that no host has",
                    ));
                }
                (host.to_owned(), port)
            }
        };
        let number = match port.strip_prefix(':') {
            None if port.is_empty() => default_port,
            Some("") => default_port,
            Some(digits) if digits.bytes().all(|byte| byte.is_ascii_digit()) => {
                digits.parse().ok().filter(|port| *port != 0)
            }
            _ => None,
        };
        let port = number.ok_or_else(|| {
            invalid("a port is missing, or not a number from 1 to 65535; node=… is host:port")
        })?;
        Ok(Self { host, port })
    }

    pub(super) fn server(self) -> Server {
        Server::new(self.host, self.port)
    }
}

fn is_of_a_name(c: char) -> bool {
    c.is_alphanumeric() || matches!(c, '-' | '.' | '_')
}

/// The parameters after the `?`.
#[derive(Default)]
pub(super) struct Query {
    pub(super) nodes: Vec<String>,
    pub(super) service_name: Option<String>,
    pub(super) sentinel_username: Option<String>,
    pub(super) sentinel_password: Option<String>,
    database: Option<String>,
}

impl Query {
    pub(super) fn read(text: &str) -> Result<Self, Error> {
        let mut query = Self::default();
        for pair in text.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let value = decode(&value.replace('+', " "), "a value in the query")?;
            let field = match name {
                "node" => {
                    query.nodes.push(value);
                    continue;
                }
                "db" => &mut query.database,
                "sentinelServiceName" => &mut query.service_name,
                "sentinelUsername" => &mut query.sentinel_username,
                "sentinelPassword" => &mut query.sentinel_password,
                _ => return Err(invalid(UNKNOWN)),
            };
            if field.replace(value).is_some() {
                return Err(invalid(
                    "a parameter is given twice: the database or one of a sentinel",
                ));
            }
        }
        Ok(query)
    }

    pub(super) fn database(&self) -> Result<Option<u8>, Error> {
        let text = self.database.as_deref();
        let number = text.map(str::parse).transpose();
        number.map_err(|_| invalid("db=… is a database's number, 0 to 255"))
    }

    pub(super) fn refuse_nodes(&self, kind: &str) -> Result<(), Error> {
        if self.nodes.is_empty() {
            return Ok(());
        }
        Err(invalid(&format!(
            "node=… has no effect for {kind}: it is for redis-cluster:// and redis-sentinel://"
        )))
    }

    pub(super) fn refuse_sentinel(&self) -> Result<(), Error> {
        match self {
            Self {
                service_name: None,
                sentinel_username: None,
                sentinel_password: None,
                ..
            } => Ok(()),
            _ => Err(invalid(
                "sentinel… in the query has an effect for redis-sentinel:// only",
            )),
        }
    }
}

/// Decodes what is percent-encoded; a `%` that begins no code stands for itself.
pub(super) fn decode(text: &str, what: &str) -> Result<String, Error> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        let code = match after {
            [high, low, ..] if *first == b'%' => hex(*high).zip(hex(*low)),
            _ => None,
        };
        let (byte, left) = match code {
            Some((high, low)) => (high * 16 + low, &after[2..]),
            None => (*first, after),
        };
        bytes.push(byte);
        rest = left;
    }
    String::from_utf8(bytes).map_err(|_| invalid(&format!("{what} is not UTF-8 when decoded")))
}

fn hex(digit: u8) -> Option<u8> {
    char::from(digit)
        .to_digit(16)
        .and_then(|digit| u8::try_from(digit).ok())
}

pub(super) fn invalid(why: &str) -> Error {
    Error::config(format!("invalid redis URL: {why}"))
}

const UNKNOWN: &str = "the query has a parameter that is not known; known are db, node, sentinelServiceName, \
                       sentinelUsername and sentinelPassword (a ? in a password is written %3F)";
