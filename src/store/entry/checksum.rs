//! The versions of the format, and the checksum that each of them has.
//!
//! A checksum detects damage and foreign data, not forgery: a program that can write to Redis can write a valid one. That an
//! entry is the one of its key is proven by the digest of the key in it, not by the checksum.

use twox_hash::XxHash3_64;

/// The first two bytes of an entry, whatever its version.
pub(crate) const LETTERS: &[u8; 2] = b"TF";

/// The version that is written: with XXH3, 64 bits, of all that follows the checksum.
pub(crate) const VERSION: u8 = 5;

/// The version before, which is still read: it differs by its checksum, the first 64 bits of BLAKE3.
const BEFORE: u8 = 4;

/// The checksum of the version that is written.
pub(crate) fn checksum(bytes: &[u8]) -> [u8; 8] {
    XxHash3_64::oneshot(bytes).to_le_bytes()
}

/// Whether a version can be read.
pub(crate) fn is_readable(version: u8) -> bool {
    matches!(version, VERSION | BEFORE)
}

/// Whether `sum` is the checksum of `bytes` in this version.
pub(crate) fn is_intact(version: u8, sum: &[u8], bytes: &[u8]) -> bool {
    match version {
        VERSION => *sum == checksum(bytes),
        BEFORE => *sum == blake3::hash(bytes).as_bytes()[..8],
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::super::{
        decode::{Entry, PRELUDE},
        key::{Digest, resource},
        log_position::Seq,
        tag::Tag,
    };

    /// Entries that a program wrote which knew version 4 only: of the key `resource("host", "/path", None)`.
    const RECORDED: &str = include_str!("recorded/version_4.txt");

    fn digest() -> Digest {
        resource("host", "/path", None)
    }

    fn recorded(name: &str) -> Vec<u8> {
        let mut lines = RECORDED.lines().filter_map(|line| line.split_once(' '));
        let (_, digits) = lines.find(|(first, _)| *first == name).expect("a record");
        let byte = |at| u8::from_str_radix(&digits[at..at + 2], 16).expect("a byte");
        (0..digits.len()).step_by(2).map(byte).collect()
    }

    fn read(name: &str) -> Entry {
        let blob = Bytes::from(recorded(name));
        assert!(!Entry::is_of_another_version(&blob), "{name}");
        Entry::decode(blob, &digest()).expect(name)
    }

    /// A new version of the format made all stored entries misses at once: the one before is read as well.
    #[test]
    fn what_the_version_before_wrote_is_read() {
        let seq = Seq {
            epoch: 5,
            count: 6,
            token: *b"a record",
        };
        let Entry::Response(stored) = read("response") else {
            panic!("a response");
        };
        assert_eq!(stored.head.status.as_u16(), 599);
        let links: Vec<_> = stored.head.headers.get_all("link").iter().collect();
        assert_eq!(links, ["</a>", "</b>"]);
        assert_eq!(stored.head.headers["x-bytes"], &b"caf\xe9"[..]);
        let life = &stored.head.life;
        assert_eq!((life.born_ms, life.keep_ms), (1_795_305_600_123, 3));
        assert_eq!((life.seq, life.is_told), (seq, true));
        assert_eq!(life.tags, [Tag(7), Tag(u64::MAX)]);
        assert_eq!(stored.body, "hello world");

        let Entry::Value(value) = read("value") else {
            panic!("a value");
        };
        assert_eq!((&value.bytes[..], value.life.seq), (&b"{}"[..], seq));
        let Entry::Variants(variants) = read("variants") else {
            panic!("a list of names");
        };
        assert_eq!(variants.generation, *b"0123456789abcdef");
        assert_eq!(variants.names, ["accept", "x-own"]);
        assert_eq!(read("lease"), Entry::Lease);
    }

    #[cfg(feature = "compression")]
    #[test]
    fn a_body_that_the_version_before_compressed_is_read() {
        let Entry::Value(value) = read("packed") else {
            panic!("a value");
        };
        assert_eq!(value.bytes, b"hello ".repeat(20));
    }

    #[test]
    fn damage_of_the_version_before_is_noticed() {
        let blob = recorded("response");
        for bit in 0..blob.len() * 8 {
            let mut damaged = blob.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(Entry::decode(damaged.into(), &digest()), None, "bit {bit}");
        }
        for length in 0..blob.len() {
            let part = blob[..length].to_vec();
            assert_eq!(Entry::decode(part.into(), &digest()), None, "{length}");
        }
    }

    /// What a checksum proves is left to each version: that of one is none in another.
    #[test]
    fn a_version_is_read_with_its_own_checksum_only() {
        let mut blob = recorded("value");
        for version in 0..=u8::MAX {
            blob[2] = version;
            let read = Entry::decode(blob.clone().into(), &digest());
            assert_eq!(read.is_some(), version == 4, "{version}");
            let is_other = Entry::is_of_another_version(&blob);
            assert_eq!(is_other, !matches!(version, 4 | 5), "{version}");
        }
        assert!(!Entry::is_of_another_version(&blob[..PRELUDE - 1]));
    }
}
