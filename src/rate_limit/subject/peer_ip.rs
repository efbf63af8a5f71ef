//! The address of the peer, as a key.

use std::net::{IpAddr, SocketAddr};

use http::{Extensions, request::Parts};

use super::{identity::Identity, key::Key};

/// Counts by the address of the peer: the other end of the connection. The default key.
///
/// It comes from the request's extensions: a [`PeerAddr`], axum's `ConnectInfo<SocketAddr>` (feature `axum`; serve the
/// router with `into_make_service_with_connect_info::<SocketAddr>()`), or a plain [`SocketAddr`]. IPv6 addresses count
/// by their /64, which is what one subscriber has.
///
/// Header fields are not read, since any client can write them. Behind a proxy the peer is always the proxy: use
/// [`ForwardedIp`](crate::rate_limit::ForwardedIp) there. The first request with `X-Forwarded-For` or `Forwarded` that is
/// counted by this key is logged as a warning.
#[derive(Clone, Copy, Debug, Default)]
pub struct PeerIp;

/// As [`PeerIp`], but with another prefix of IPv6 addresses than /64. Made by [`PeerIp::ipv6_prefix`].
#[derive(Clone, Copy, Debug)]
pub struct PeerNetwork {
    prefix: u8,
}

impl PeerIp {
    /// IPv6 addresses with the same first `bits` are one subject: 56 or 48 where a client can use the addresses of a
    /// whole site, 128 to count each address by itself. Each IPv4 address is always counted by itself.
    ///
    /// # Panics
    ///
    /// When `bits` is above 128.
    pub fn ipv6_prefix(self, bits: u8) -> PeerNetwork {
        assert!(bits <= 128, "an IPv6 address has 128 bits");
        PeerNetwork { prefix: bits }
    }
}

/// The address of the peer, for servers other than axum's: insert it into the extensions of each request of a
/// connection.
///
/// ```
/// use std::net::{Ipv4Addr, SocketAddr};
/// use tower_fred::rate_limit::PeerAddr;
///
/// // The address that `accept` returned.
/// let peer = SocketAddr::from((Ipv4Addr::LOCALHOST, 4711));
/// let mut request = http::Request::new("");
/// request.extensions_mut().insert(PeerAddr(peer));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PeerAddr(pub SocketAddr);

impl Key for PeerIp {
    fn identity(&self, request: &Parts) -> Option<Identity> {
        peer(&request.extensions).map(Identity::from)
    }

    fn needs(&self) -> &str {
        NEEDS
    }

    fn is_of_peer(&self) -> bool {
        true
    }
}

impl Key for PeerNetwork {
    fn identity(&self, request: &Parts) -> Option<Identity> {
        peer(&request.extensions).map(|ip| Identity::network(ip, self.prefix))
    }

    fn needs(&self) -> &str {
        NEEDS
    }

    fn is_of_peer(&self) -> bool {
        true
    }
}

/// The address of the other end of the connection.
pub(crate) fn peer(extensions: &Extensions) -> Option<IpAddr> {
    let address = extensions
        .get::<PeerAddr>()
        .map(|PeerAddr(address)| address)
        .or_else(|| connect_info(extensions))
        .or_else(|| extensions.get())?;
    Some(address.ip())
}

#[cfg(feature = "axum")]
fn connect_info(extensions: &Extensions) -> Option<&SocketAddr> {
    use axum::extract::connect_info::{ConnectInfo, MockConnectInfo};

    let connected = extensions.get().map(|ConnectInfo(address)| address);
    connected.or_else(|| extensions.get().map(|MockConnectInfo(address)| address))
}

#[cfg(not(feature = "axum"))]
fn connect_info(_: &Extensions) -> Option<&SocketAddr> {
    None
}

pub(crate) const NEEDS: &str =
    "PeerAddr, ConnectInfo<SocketAddr> or SocketAddr in the request's extensions";
