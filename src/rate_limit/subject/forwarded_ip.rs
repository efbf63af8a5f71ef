//! The address of a client behind proxies.

use std::net::IpAddr;

use http::{HeaderMap, request::Parts};
use ipnet::{IpNet, Ipv4Net};

use super::{
    forwarding_headers::{addresses, forwarded, real_ip},
    identity::Identity,
    key::Key,
    peer_ip::{NEEDS, peer},
};
use crate::error::Error;

/// Counts by the address of the client, as the proxies that you trust report it.
///
/// Each proxy appends the address of its own peer to a header field. A client can send such a field too, so it is read
/// from the end, where your proxies wrote. The first address is the peer of the connection. While the current address
/// belongs to a trusted proxy, the address that this proxy appended is next. The first address that is not trusted is
/// the client's, and all that is before it in the field is ignored. If a trusted proxy appended something that is not
/// an address, the request counts by the proxy's own address.
///
/// Only one field is read, since a proxy that sets one may forward the others as clients send them:
/// `X-Forwarded-For` unless [`forwarded`](Self::forwarded) or [`x_real_ip`](Self::x_real_ip) says otherwise. IPv6
/// addresses count by their /64, or as [`ipv6_prefix`](Self::ipv6_prefix) says.
///
/// ```
/// use tower_fred::rate_limit::ForwardedIp;
///
/// // Trust the load balancers of the private network.
/// let by_network = ForwardedIp::trusting(["10.0.0.0/8", "fd00::/8"])?;
/// // Trust exactly two proxies, with any addresses.
/// let by_count = ForwardedIp::trusting_hops(2).forwarded();
/// # Ok::<_, tower_fred::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct ForwardedIp {
    trust: Trust,
    field: Field,
    prefix: u8,
}

#[derive(Clone, Debug)]
enum Trust {
    Networks(Vec<IpNet>),
    Count(usize),
}

#[derive(Clone, Copy, Debug)]
enum Field {
    XForwardedFor,
    XRealIp,
    Forwarded,
}

impl ForwardedIp {
    /// Trusts proxies with addresses in these networks, such as `10.0.0.0/8`; a single address is a network of one. An
    /// IPv4 network may be written as IPv4-mapped IPv6 (RFC 4291 §2.5.5.2): `::ffff:10.0.0.0/104`.
    ///
    /// # Errors
    ///
    /// A [config](Error::is_config) error for text that is neither a network nor an address, and for a network of
    /// IPv4-mapped addresses with a prefix of fewer than 96 bits, which contains more than IPv4.
    pub fn trusting<T: AsRef<str>>(networks: impl IntoIterator<Item = T>) -> Result<Self, Error> {
        let networks = networks.into_iter().map(|text| network(text.as_ref()));
        Ok(Self::new(Trust::Networks(
            networks.collect::<Result<_, _>>()?,
        )))
    }

    /// Trusts this many proxies, with any addresses; the first is the peer of the connection. For proxies whose
    /// addresses are not known. Clients must not be able to connect without these proxies: one that can may claim any
    /// address.
    ///
    /// With zero, the peer is the client.
    pub fn trusting_hops(proxies: usize) -> Self {
        Self::new(Trust::Count(proxies))
    }

    fn new(trust: Trust) -> Self {
        Self {
            trust,
            field: Field::XForwardedFor,
            prefix: 64,
        }
    }

    /// Reads `Forwarded` (RFC 7239) instead.
    #[must_use]
    pub fn forwarded(mut self) -> Self {
        self.field = Field::Forwarded;
        self
    }

    /// Reads `X-Real-IP` instead, which has one address: that of the proxy's own peer.
    #[must_use]
    pub fn x_real_ip(mut self) -> Self {
        self.field = Field::XRealIp;
        self
    }

    /// The length of the IPv6 prefix that is one subject; default 64 bits, which is what one subscriber has.
    ///
    /// # Panics
    ///
    /// When `bits` is above 128.
    #[must_use]
    pub fn ipv6_prefix(mut self, bits: u8) -> Self {
        assert!(bits <= 128, "an IPv6 address has 128 bits");
        self.prefix = bits;
        self
    }

    /// The client's address.
    fn client(&self, peer: IpAddr, headers: &HeaderMap) -> IpAddr {
        let mut reported: Box<dyn Iterator<Item = Option<IpAddr>> + '_> = match self.field {
            Field::XForwardedFor => Box::new(addresses(headers)),
            Field::Forwarded => Box::new(forwarded(headers)),
            Field::XRealIp => Box::new(real_ip(headers)),
        };
        let (mut client, mut proxies) = (peer.to_canonical(), 0);
        while self.trusts(client, proxies) {
            match reported.next() {
                Some(Some(before)) => client = before.to_canonical(),
                // This proxy reported nothing usable, so its own address counts.
                Some(None) | None => break,
            }
            proxies += 1;
        }
        client
    }

    /// Whether `address` is that of a trusted proxy, when `proxies` trusted ones were found before it.
    fn trusts(&self, address: IpAddr, proxies: usize) -> bool {
        proxies < LONGEST_CHAIN
            && match &self.trust {
                Trust::Networks(networks) => networks.iter().any(|own| own.contains(&address)),
                Trust::Count(trusted) => proxies < *trusted,
            }
    }
}

impl Key for ForwardedIp {
    fn identity(&self, request: &Parts) -> Option<Identity> {
        let client = self.client(peer(&request.extensions)?, &request.headers);
        Some(Identity::network(client, self.prefix))
    }

    fn needs(&self) -> &str {
        NEEDS
    }
}

fn network(text: &str) -> Result<IpNet, Error> {
    let address = || text.parse::<IpAddr>().ok().map(IpNet::from);
    let network = text.parse::<IpNet>().ok().or_else(address);
    network
        .and_then(canonical)
        .ok_or_else(|| Error::config(format!("{text:?} is not a network such as 10.0.0.0/8")))
}

/// An IPv4-mapped network as IPv4: the addresses that are compared with it are never IPv4-mapped.
fn canonical(network: IpNet) -> Option<IpNet> {
    match network.addr().to_canonical() {
        IpAddr::V4(v4) if network.addr().is_ipv6() => {
            let bits = network.prefix_len().checked_sub(MAPPED_BITS)?;
            Ipv4Net::new(v4, bits).ok().map(IpNet::V4)
        }
        _ => Some(network),
    }
}

/// The length of the prefix of IPv4-mapped IPv6 addresses.
const MAPPED_BITS: u8 = 96;
/// The most proxies that are followed.
const LONGEST_CHAIN: usize = 32;

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn client(key: &ForwardedIp, peer: &str, name: &'static str, lines: &[&str]) -> String {
        let mut headers = HeaderMap::new();
        for line in lines {
            let value = HeaderValue::from_bytes(line.as_bytes()).expect("a value");
            headers.append(name, value);
        }
        let peer = peer.parse().expect("an address");
        key.client(peer, &headers).to_string()
    }

    fn own() -> ForwardedIp {
        ForwardedIp::trusting(["10.0.0.0/8", "2001:db8:1::/48", "192.0.2.7"]).expect("networks")
    }

    #[test]
    fn the_first_that_is_not_ours_is_the_client() {
        let of = |peer, lines: &[&str]| client(&own(), peer, "x-forwarded-for", lines);
        // What a stranger claims does not matter.
        assert_eq!(of("203.0.113.9", &["198.51.100.1"]), "203.0.113.9");
        assert_eq!(
            of("10.1.1.1", &["fake, 203.0.113.9, 10.1.1.2"]),
            "203.0.113.9"
        );
        assert_eq!(
            of("10.1.1.1", &["198.51.100.1", "203.0.113.9,10.1.1.2"]),
            "203.0.113.9"
        );
        assert_eq!(of("192.0.2.7", &["203.0.113.9:4711"]), "203.0.113.9");
        assert_eq!(of("2001:db8:1::1", &["[2001:db8::7]:80"]), "2001:db8::7");
        assert_eq!(of("10.1.1.1", &["2001:db8::7"]), "2001:db8::7");
        // Mapped into IPv6 it is the same proxy and the same client.
        assert_eq!(
            of("::ffff:10.1.1.1", &["::ffff:203.0.113.9"]),
            "203.0.113.9"
        );
        // All are ours: the first of them asks by itself.
        assert_eq!(of("10.1.1.1", &["10.1.1.3, 10.1.1.2"]), "10.1.1.3");
        assert_eq!(of("10.1.1.1", &[]), "10.1.1.1");
    }

    #[test]
    fn garbage_is_where_trust_ends() {
        let of = |lines: &[&str]| client(&own(), "10.1.1.1", "x-forwarded-for", lines);
        for garbage in [
            "unknown",
            "",
            ",",
            "203.0.113.9, ",
            "_hidden",
            "203.0.113",
            "\u{e9}",
        ] {
            assert_eq!(of(&[garbage]), "10.1.1.1", "{garbage:?}");
            assert_eq!(
                of(&[&format!("{garbage}, 10.1.1.2")]),
                "10.1.1.2",
                "{garbage:?}"
            );
        }
    }

    #[test]
    fn hops_are_counted_from_the_end() {
        let of = |proxies, lines: &[&str]| {
            let key = ForwardedIp::trusting_hops(proxies);
            client(&key, "198.51.100.1", "x-forwarded-for", lines)
        };
        let chain = "fake, 203.0.113.9, 198.51.100.2";
        assert_eq!(of(0, &[chain]), "198.51.100.1");
        assert_eq!(of(1, &[chain]), "198.51.100.2");
        assert_eq!(of(2, &[chain]), "203.0.113.9");
        assert_eq!(of(3, &[chain]), "203.0.113.9");
        assert_eq!(of(2, &["203.0.113.9"]), "203.0.113.9");
    }

    #[test]
    fn only_one_field_is_read() {
        let of = |key: ForwardedIp, name| client(&key, "10.1.1.1", name, &["203.0.113.9"]);
        assert_eq!(of(own().x_real_ip(), "x-real-ip"), "203.0.113.9");
        assert_eq!(of(own().x_real_ip(), "x-forwarded-for"), "10.1.1.1");
        assert_eq!(of(own(), "x-real-ip"), "10.1.1.1");
        assert_eq!(of(own().forwarded(), "x-forwarded-for"), "10.1.1.1");
        let line = ["for=198.51.100.1, For=\"[2001:db8::7]:80\";proto=https"];
        let forwarded = own().forwarded();
        assert_eq!(
            client(&forwarded, "10.1.1.1", "forwarded", &line),
            "2001:db8::7"
        );
    }

    #[test]
    fn a_chain_has_an_end() {
        let long = vec!["10.1.1.1"; 10_000].join(",");
        let of = client(
            &own(),
            "10.1.1.1",
            "x-forwarded-for",
            &[&format!("203.0.113.9,{long}")],
        );
        assert_eq!(of, "10.1.1.1");
    }

    /// Networks of addresses that are mapped into IPv6 were accepted and matched no proxy.
    #[test]
    fn mapped_networks_are_networks_of_ipv4() {
        for (network, inside, outside) in [
            ("::ffff:127.0.0.1", "127.0.0.1", "127.0.0.2"),
            ("::ffff:7f00:1", "::ffff:127.0.0.1", "127.0.0.2"),
            ("::ffff:10.0.0.0/104", "10.255.0.1", "11.0.0.1"),
            ("::ffff:10.1.2.3/112", "::ffff:10.1.9.9", "10.2.0.1"),
            ("::ffff:0.0.0.0/96", "198.51.100.1", "2001:db8::1"),
            ("::1", "::1", "127.0.0.1"),
        ] {
            let key = ForwardedIp::trusting([network]).expect(network);
            let of = |peer| client(&key, peer, "x-forwarded-for", &["203.0.113.9"]);
            assert_eq!(of(inside), "203.0.113.9", "{network} {inside}");
            assert_eq!(of(outside), outside, "{network} {outside}");
        }
    }

    #[test]
    fn networks_are_checked() {
        for nonsense in [
            "",
            "10.0.0.0/33",
            "example.com",
            "10.0.0.0/8/8",
            "::ffff:10.0.0.0/95",
            "::ffff:10.0.0.0/8",
        ] {
            let error = ForwardedIp::trusting([nonsense]).expect_err("nonsense");
            assert!(error.is_config());
        }
    }
}
