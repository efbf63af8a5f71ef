//! The digest of a subject.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr},
};

use http::HeaderName;

/// A subject: who a request counts against. It is a digest, never the raw address, header or name.
///
/// It is made from text, bytes, numbers and addresses. Text and the bytes of that text are the same subject; values of
/// different kinds never are. Only the digest leaves the process. So a key in Redis has a fixed length, a client cannot
/// choose it, and it contains no readable address, name or token. The digest uses no secret: a reader of Redis can hash
/// a guess and compare.
///
/// ```
/// use std::net::IpAddr;
/// use tower_fred::rate_limit::Identity;
///
/// let one: IpAddr = "2001:db8::1".parse()?;
/// let neighbour: IpAddr = "2001:db8::2".parse()?;
/// assert_eq!(Identity::from(one), Identity::from(neighbour), "one /64 is one subject");
/// assert_ne!(Identity::from("2001:db8::1"), Identity::from(one));
/// assert_eq!(Identity::from("alice"), Identity::from(b"alice"));
/// # Ok::<_, std::net::AddrParseError>(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Identity([u8; 16]);

impl Identity {
    pub(crate) fn header(name: &HeaderName, value: &[u8]) -> Self {
        Self::new(Kind::Header, &[name.as_str().as_bytes(), value])
    }

    /// The subject that all requests without a key share.
    pub(crate) fn nobody() -> Self {
        Self::new(Kind::Nobody, &[])
    }

    /// The name of a policy whose algorithm is not GCRA.
    pub(crate) fn policy(kind: &str, name: &str) -> Self {
        Self::new(Kind::Policy, &[kind.as_bytes(), name.as_bytes()])
    }

    /// A policy with its numbers, as the scripts take them. `shared`: the budget is named by these numbers, but some of
    /// its subjects may have other numbers.
    pub(crate) fn numbers(kind: &str, name: &str, numbers: [u64; 3], shared: bool) -> Self {
        let [a, b, c] = numbers.map(u64::to_le_bytes);
        let parts: [&[u8]; 6] = [
            kind.as_bytes(),
            name.as_bytes(),
            &a,
            &b,
            &c,
            &[shared.into()],
        ];
        Self::new(Kind::Numbers, &parts)
    }

    /// Several identities as one.
    pub(crate) fn all_of(identities: &[Self]) -> Self {
        let parts: Vec<&[u8]> = identities.iter().map(|Self(digest)| &digest[..]).collect();
        Self::new(Kind::Several, &parts)
    }

    /// The network of an address: the first `prefix` bits of an IPv6 address, all bits of an IPv4 address.
    pub(crate) fn network(address: IpAddr, prefix: u8) -> Self {
        match canonical(address) {
            IpAddr::V4(v4) => Self::new(Kind::Address, &[&v4.octets()]),
            IpAddr::V6(v6) if prefix == 64 => Self::new(Kind::Address, &[&v6.octets()[..8]]),
            IpAddr::V6(v6) => {
                let mask = u128::MAX.checked_shl(128 - u32::from(prefix.min(128)));
                let bits = v6.to_bits() & mask.unwrap_or(0);
                Self::new(Kind::Network, &[&[prefix], &bits.to_be_bytes()])
            }
        }
    }

    /// One byte of the digest, to distribute subjects over a table.
    pub(crate) fn first_byte(self) -> u8 {
        self.0[0]
    }

    /// The length of the name.
    pub(crate) const NAME: usize = 22;

    /// The digest as text that is part of a Redis key: base64url (RFC 4648 §5) without padding.
    pub(crate) fn to_name(self) -> [u8; Self::NAME] {
        let bits = u128::from_be_bytes(self.0);
        // 6 bits for each character; the last one has the 2 that are left.
        std::array::from_fn(|at| {
            let sextet = match 122_usize.checked_sub(6 * at) {
                Some(lower) => bits >> lower,
                None => bits << 4,
            };
            BASE64URL[(sextet & 63) as usize]
        })
    }

    /// Hashes each part after its length, so that two different lists of parts never give the same input.
    fn new(kind: Kind, parts: &[&[u8]]) -> Self {
        let mut hasher = blake3::Hasher::new();
        hasher.update(&[kind as u8]);
        for part in parts {
            hasher.update(&(part.len() as u64).to_le_bytes());
            hasher.update(part);
        }
        let mut digest = [0; 16];
        hasher.finalize_xof().fill(&mut digest);
        Self(digest)
    }
}

const BASE64URL: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

/// What an identity is made from. The numbers are hashed, so the keys in Redis depend on them.
#[derive(Clone, Copy)]
enum Kind {
    Nobody = 0,
    Bytes = 1,
    Number = 2,
    Address = 3,
    Header = 4,
    Network = 5,
    Policy = 6,
    Several = 7,
    Numbers = 8,
}

impl From<&[u8]> for Identity {
    fn from(bytes: &[u8]) -> Self {
        Self::new(Kind::Bytes, &[bytes])
    }
}

impl<const N: usize> From<&[u8; N]> for Identity {
    fn from(bytes: &[u8; N]) -> Self {
        bytes.as_slice().into()
    }
}

impl From<Vec<u8>> for Identity {
    fn from(bytes: Vec<u8>) -> Self {
        bytes.as_slice().into()
    }
}

impl From<&str> for Identity {
    fn from(text: &str) -> Self {
        text.as_bytes().into()
    }
}

impl From<&String> for Identity {
    fn from(text: &String) -> Self {
        text.as_bytes().into()
    }
}

impl From<String> for Identity {
    fn from(text: String) -> Self {
        text.as_bytes().into()
    }
}

impl From<u64> for Identity {
    fn from(number: u64) -> Self {
        Self::new(Kind::Number, &[&number.to_le_bytes()])
    }
}

/// An IPv4 address, or the /64 of an IPv6 address, since one subscriber has a whole /64. An IPv4-mapped IPv6 address
/// and an address of the NAT64 prefix count as the IPv4 address that they contain.
impl From<IpAddr> for Identity {
    fn from(address: IpAddr) -> Self {
        Self::network(address, 64)
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Identity(..)")
    }
}

/// The IPv4 address that an IPv6 address contains; any other address unchanged.
fn canonical(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        // RFC 6052 §2.1: the well-known prefix of NAT64
        IpAddr::V6(v6) if v6.segments()[..6] == [0x64, 0xff9b, 0, 0, 0, 0] => {
            IpAddr::V4(Ipv4Addr::from_bits(v6.to_bits() as u32))
        }
        address => address,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_kinds_never_meet() {
        let nothing: &[u8] = &[];
        let name = HeaderName::from_static("x-key");
        let all = [
            Identity::nobody(),
            Identity::from(nothing),
            Identity::from(0),
            Identity::from(&[0; 8]),
            Identity::from(IpAddr::from([0; 4])),
            Identity::from(&[0; 4]),
            Identity::from("0.0.0.0"),
            Identity::from(IpAddr::from([0; 16])),
            Identity::header(&name, b""),
            Identity::header(&name, b"x-key"),
            Identity::from("x-key"),
            Identity::policy("ring", "x-key"),
            Identity::numbers("ring", "x-key", [1, 2, 3], false),
            Identity::numbers("ring", "x-key", [1, 2, 3], true),
            Identity::numbers("ring", "x-kez", [1, 2, 3], false),
            Identity::numbers("gcra", "x-key", [1, 2, 3], false),
            Identity::numbers("ring", "x-key", [1, 2, 4], false),
            Identity::all_of(&[]),
            Identity::all_of(&[Identity::from("x-key")]),
            Identity::network(IpAddr::from([0; 16]), 56),
        ];
        for (at, one) in all.iter().enumerate() {
            assert!(!all[..at].contains(one), "number {at}");
        }
    }

    #[test]
    fn addresses_are_grouped() {
        let same = |a: &str, b: &str| {
            let [a, b] = [a, b].map(|text| text.parse::<IpAddr>().expect("an address"));
            Identity::from(a) == Identity::from(b)
        };
        assert!(same("192.0.2.7", "::ffff:192.0.2.7"));
        assert!(same("::ffff:c000:207", "192.0.2.7"));
        assert!(same("2001:db8::1", "2001:db8::ffff:ffff:ffff:ffff"));
        assert!(!same("2001:db8::1", "2001:db8:0:1::1"));
        assert!(!same("192.0.2.7", "192.0.2.8"));
        assert!(same("64:ff9b::192.0.2.7", "192.0.2.7"));
        assert!(!same("64:ff9b:1::192.0.2.7", "192.0.2.7"));
        // Not a mapped address: it stays in its own /64.
        assert!(!same("2001:db8::192.0.2.7", "192.0.2.7"));
    }

    #[test]
    fn networks_have_any_length() {
        let of = |text: &str, prefix| Identity::network(text.parse().expect("an address"), prefix);
        assert_eq!(of("2001:db8::1", 56), of("2001:db8:0:ff::1", 56));
        assert_ne!(of("2001:db8::1", 56), of("2001:db8:0:100::1", 56));
        assert_ne!(of("2001:db8::1", 56), of("2001:db8::1", 57));
        assert_ne!(of("2001:db8::1", 128), of("2001:db8::2", 128));
        assert_eq!(of("2001:db8::1", 0), of("::2", 0));
        assert_eq!(of("192.0.2.7", 0), of("192.0.2.7", 128));
        assert_ne!(of("192.0.2.7", 0), of("192.0.2.8", 0));
    }

    #[test]
    fn a_name_is_base64url() {
        let name = |digest| String::from_utf8(Identity(digest).to_name().to_vec()).expect("text");
        assert_eq!(name([0; 16]), "AAAAAAAAAAAAAAAAAAAAAA");
        assert_eq!(name([255; 16]), "_____________________w");
        let bytes = *b"\x00\x10\x83\x10\x51\x87\x20\x92\x8b\x30\xd3\x8f\x41\x14\x93\x51";
        assert_eq!(name(bytes), "ABCDEFGHIJKLMNOPQRSTUQ");
    }

    #[test]
    fn debug_tells_nothing() {
        assert_eq!(format!("{:?}", Identity::from("alice")), "Identity(..)");
    }

    proptest! {
        #[test]
        fn different_bytes_are_different_subjects(a: Vec<u8>, b: Vec<u8>) {
            prop_assert_eq!(a == b, Identity::from(a) == Identity::from(b));
        }

        #[test]
        fn a_header_name_cannot_reach_into_the_value(text in "[a-c]{2,9}", one: usize, other: usize) {
            let header = |at: usize| {
                let (name, value) = text.split_at(1 + at % (text.len() - 1));
                let name: HeaderName = name.parse().expect("a name");
                (name.as_str().len(), Identity::header(&name, value.as_bytes()))
            };
            let ((one, first), (other, second)) = (header(one), header(other));
            prop_assert_eq!(one == other, first == second);
        }
    }
}
