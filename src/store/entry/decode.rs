//! Entries as Redis holds them: the format, the types, and reading them.
//!
//! ```text
//! 0   "TF", version: 5 is written, 4 is read as well
//! 3   checksum, 8 bytes: of all that follows, by the version
//! 11  kind
//! 12  digest of the key, 32 bytes
//! 44  deadlines, place in the purge log, tags
//! ..  by kind: a response, a list of field names, or a value
//! ```
//!
//! All numbers are little-endian. What cannot be read is a miss.

use bytes::{Buf, Bytes};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};

#[cfg(feature = "compression")]
use super::compression::decompress;
use super::{
    checksum::{LETTERS, is_intact, is_readable},
    key::Digest,
    lifetime::Life,
    log_position::Seq,
    tag::Tag,
};

/// An entry that was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Entry {
    /// The response to a request.
    Response(Stored),
    /// The names of the request fields on which the response depends.
    Variants(Variants),
    /// The value of a memo.
    Value(Value),
    /// A lease: a caller is making the entry.
    Lease,
}

/// A stored response.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Stored {
    pub(crate) head: Head,
    pub(crate) body: Bytes,
}

/// A stored response without its body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Head {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) life: Life,
}

/// A stored value of a memo.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Value {
    pub(crate) life: Life,
    pub(crate) bytes: Bytes,
}

/// The request fields on which a response depends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Variants {
    /// Part of the keys of the variants: when this entry is lost, none of them is found again.
    pub(crate) generation: [u8; 16],
    /// In a fixed order, each once.
    pub(crate) names: Vec<HeaderName>,
    /// The place in the purge log that was known when it was made.
    pub(crate) seq: Seq,
}

impl Entry {
    /// Reads what is stored under the key with `digest`; `None` if any part of it is not as it was written.
    pub(crate) fn decode(mut blob: Bytes, digest: &Digest) -> Option<Self> {
        if blob.len() < PRELUDE || blob[..2] != *LETTERS {
            return None;
        }
        let (kind, is_packed) = (blob[11] & !PACKED, blob[11] & PACKED != 0);
        // The cheap comparison first.
        if blob[12..PRELUDE] != *digest.as_bytes() || !is_intact(blob[2], &blob[3..11], &blob[11..])
        {
            return None;
        }
        blob.advance(PRELUDE);
        let life = Life::decode(&mut blob)?;
        let mut entry = match kind {
            RESPONSE => Self::Response(Stored::decode(life, blob)?),
            VARIANTS => Self::Variants(Variants::decode(life.seq, blob)?),
            VALUE => Self::Value(Value { life, bytes: blob }),
            LEASE => Self::Lease,
            _ => return None,
        };
        if is_packed {
            let body = entry.body_mut()?;
            *body = decompress(body)?;
        }
        Some(entry)
    }

    /// Whether this is of an older or newer version of this crate, which reads it, and this one does not.
    pub(crate) fn is_of_another_version(blob: &[u8]) -> bool {
        blob.len() >= PRELUDE && blob[..2] == *LETTERS && !is_readable(blob[2])
    }

    /// What may be packed, and is long.
    pub(crate) fn body(&self) -> &[u8] {
        match self {
            Self::Response(stored) => &stored.body,
            Self::Value(value) => &value.bytes,
            Self::Variants(_) | Self::Lease => &[],
        }
    }

    fn body_mut(&mut self) -> Option<&mut Bytes> {
        match self {
            Self::Response(stored) => Some(&mut stored.body),
            Self::Value(value) => Some(&mut value.bytes),
            Self::Variants(_) | Self::Lease => None,
        }
    }

    /// The deadlines and tags. Lists of field names and leases have none.
    pub(crate) fn life(&self) -> Option<&Life> {
        match self {
            Self::Response(stored) => Some(&stored.head.life),
            Self::Value(value) => Some(&value.life),
            Self::Variants(_) | Self::Lease => None,
        }
    }

    /// The place in the purge log that was known when it was made.
    pub(crate) fn seq(&self) -> Seq {
        match self {
            Self::Variants(variants) => variants.seq,
            other => other.life().map_or_else(Seq::default, |life| life.seq),
        }
    }
}

impl Life {
    fn decode(blob: &mut Bytes) -> Option<Self> {
        let mut number = || Some(u64::from_le_bytes(array(blob)?));
        let mut life = Self {
            born_ms: number()?,
            lifetime_ms: number()?,
            initial_age_ms: number()?,
            swr_ms: number()?,
            sie_ms: number()?,
            keep_ms: number()?,
            cost_ms: number()?,
            seq: Seq {
                epoch: number()?,
                count: number()?,
                token: array(blob)?,
            },
            is_told: false,
            tags: Vec::new(),
        };
        let [is_told] = array(blob)?;
        life.is_told = match is_told {
            0 | 1 => is_told == 1,
            _ => return None,
        };
        let tags = usize::from(u16::from_le_bytes(array(blob)?));
        let mut tags = take(blob, tags * 8)?;
        while tags.has_remaining() {
            life.tags.push(Tag(u64::from_le_bytes(array(&mut tags)?)));
        }
        Some(life)
    }
}

impl Stored {
    fn decode(life: Life, mut blob: Bytes) -> Option<Self> {
        let status = StatusCode::from_u16(u16::from_le_bytes(array(&mut blob)?)).ok()?;
        let lines = u16::from_le_bytes(array(&mut blob)?);
        let lines = usize::from((lines <= MOST_LINES).then_some(lines)?);
        // A line takes at least six bytes: a wrong count reserves no more lines than the value can hold.
        let mut headers = HeaderMap::try_with_capacity(lines.min(blob.len() / 6)).ok()?;
        for _ in 0..lines {
            let name = HeaderName::from_bytes(&take_short(&mut blob)?).ok()?;
            let length = usize::try_from(u32::from_le_bytes(array(&mut blob)?)).ok()?;
            let value = HeaderValue::from_maybe_shared(take(&mut blob, length)?).ok()?;
            headers.try_append(name, value).ok()?;
        }
        Some(Self {
            head: Head {
                status,
                headers,
                life,
            },
            body: blob,
        })
    }
}

impl Variants {
    fn decode(seq: Seq, mut blob: Bytes) -> Option<Self> {
        let generation = array(&mut blob)?;
        let mut names = Vec::new();
        while blob.has_remaining() {
            names.push(HeaderName::from_bytes(&take_short(&mut blob)?).ok()?);
        }
        Some(Self {
            generation,
            names,
            seq,
        })
    }
}

/// A program with the feature may have compressed the body: that is a miss here.
#[cfg(not(feature = "compression"))]
fn decompress(_: &[u8]) -> Option<Bytes> {
    None
}

fn array<const N: usize>(blob: &mut Bytes) -> Option<[u8; N]> {
    take(blob, N)?.as_ref().try_into().ok()
}

fn take_short(blob: &mut Bytes) -> Option<Bytes> {
    let length = usize::from(u16::from_le_bytes(array(blob)?));
    take(blob, length)
}

/// Splits off bytes without copying them.
fn take(blob: &mut Bytes, length: usize) -> Option<Bytes> {
    (length <= blob.len()).then(|| blob.split_to(length))
}

pub(crate) const RESPONSE: u8 = 1;
pub(crate) const VARIANTS: u8 = 2;
pub(crate) const VALUE: u8 = 3;
pub(crate) const LEASE: u8 = 4;
/// A flag beside the kind: the body is compressed.
pub(crate) const PACKED: u8 = 0x80;
/// A `HeaderMap` holds this many fields and has room for more to be added.
pub(crate) const MOST_LINES: u16 = 4096;
pub(crate) const PRELUDE: usize = 12 + Digest::LENGTH;

/// The length of the prefix that identifies an entry: all bytes up to the end of the checksum.
pub(crate) const MARK: usize = 11;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::{encode::Writer, key::resource};
    use super::*;

    fn digest() -> Digest {
        resource("host", "/path", None)
    }

    fn head() -> Head {
        let mut headers = HeaderMap::new();
        for (name, value) in [
            ("link", &b"</a>"[..]),
            ("link", b"</b>"),
            ("x-bytes", b"caf\xe9"),
            ("x-empty", b""),
        ] {
            headers.append(
                HeaderName::from_bytes(name.as_bytes()).expect("a name"),
                HeaderValue::from_bytes(value).expect("a value"),
            );
        }
        Head {
            status: StatusCode::from_u16(599).expect("a status"),
            headers,
            life: life(),
        }
    }

    fn life() -> Life {
        Life {
            born_ms: 1_795_305_600_123,
            lifetime_ms: 60_000,
            initial_age_ms: 7_000,
            swr_ms: 1,
            sie_ms: 2,
            keep_ms: 3,
            cost_ms: 4,
            is_told: true,
            seq: Seq {
                epoch: 5,
                count: 6,
                token: *b"a record",
            },
            tags: vec![Tag(7), Tag(u64::MAX)],
        }
    }

    fn written(head: &Head, frames: &[&[u8]]) -> Bytes {
        let mut writer = Writer::response(head, &digest()).expect("a head that fits");
        for frame in frames {
            writer.push(frame);
        }
        writer.finish()
    }

    #[test]
    fn an_answer_is_read_as_written() {
        let blob = written(&head(), &[b"hello ", b"world"]);
        let Some(Entry::Response(stored)) = Entry::decode(blob.clone(), &digest()) else {
            panic!("an answer");
        };
        assert_eq!(stored.head, head());
        let links: Vec<_> = stored.head.headers.get_all("link").iter().collect();
        assert_eq!(links, ["</a>", "</b>"]);
        assert_eq!(stored.body, "hello world");
        // The body is a part of the blob, not a copy.
        assert!(blob.as_ptr_range().contains(&stored.body.as_ptr()));
    }

    #[test]
    fn field_names_and_values_are_read_as_written() {
        let variants = Variants {
            generation: *b"0123456789abcdef",
            names: vec![http::header::ACCEPT, HeaderName::from_static("x-own")],
            seq: Seq {
                epoch: 1,
                count: 2,
                token: *b"a record",
            },
        };
        assert_eq!(
            Entry::decode(variants.encode(&digest()), &digest()),
            Some(Entry::Variants(variants))
        );
        assert_eq!(
            Entry::decode(Writer::value(&life(), b"{}", &digest(), None), &digest()),
            Some(Entry::Value(Value {
                life: life(),
                bytes: Bytes::from_static(b"{}")
            }))
        );
    }

    #[test]
    fn an_entry_of_another_key_is_none() {
        let other = resource("host", "/other", None);
        assert_eq!(Entry::decode(written(&head(), &[b"x"]), &other), None);
    }

    #[test]
    fn damage_is_noticed_at_every_bit_and_length() {
        let blob = written(&head(), &[b"hello"]);
        for bit in 0..blob.len() * 8 {
            let mut damaged = blob.to_vec();
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(Entry::decode(damaged.into(), &digest()), None, "bit {bit}");
        }
        for length in 0..blob.len() {
            assert_eq!(
                Entry::decode(blob.slice(..length), &digest()),
                None,
                "{length}"
            );
        }
    }

    #[cfg(feature = "compression")]
    #[test]
    fn a_packed_body_is_read_as_written_and_takes_less() {
        let body = b"hello ".repeat(1000);
        let mut writer = Writer::response(&head(), &digest()).expect("a head that fits");
        writer.push(&body);
        writer.pack(Some(5999));
        let blob = writer.finish();
        assert!(blob.len() < 1000);
        let Some(Entry::Response(stored)) = Entry::decode(blob, &digest()) else {
            panic!("an answer");
        };
        assert_eq!(stored.head, head());
        assert_eq!(stored.body, body);
        for (above, small) in [(Some(5999), true), (Some(6000), false), (None, false)] {
            let blob = Writer::value(&life(), &body, &digest(), above);
            assert_eq!(blob.len() < 1000, small);
            let Some(Entry::Value(value)) = Entry::decode(blob, &digest()) else {
                panic!("a value");
            };
            assert_eq!(value.bytes, body);
        }
        // A list of names has no body to compress.
        assert_eq!(
            Entry::decode(framed(VARIANTS | PACKED, &[0; 100]), &digest()),
            None
        );
    }

    /// Any content with a valid checksum, to test what is parsed after it.
    fn framed(kind: u8, content: &[u8]) -> Bytes {
        let mut writer = Writer::new(kind, &digest());
        writer.push(content);
        writer.finish()
    }

    #[test]
    fn an_unknown_kind_or_version_is_none() {
        assert_eq!(Entry::decode(framed(9, b""), &digest()), None);
        let mut newer = framed(VALUE, b"1").to_vec();
        newer[2] += 1;
        assert!(Entry::is_of_another_version(&newer));
        assert!(!Entry::is_of_another_version(&framed(9, b"")));
        assert!(!Entry::is_of_another_version(b"TF"));
        assert_eq!(Entry::decode(newer.into(), &digest()), None);
    }

    proptest! {
        #[test]
        fn any_answer_is_read_as_written(
            status in 100u16..1000,
            times in any::<(u64, u64, u64, u64, u64, u64, u64, u64, u64)>(),
            token in any::<[u8; 8]>(),
            is_told in any::<bool>(),
            tags in proptest::collection::vec(any::<u64>(), 0..5),
            lines in proptest::collection::vec(("[a-z-]{1,12}", proptest::collection::vec(0x20u8..0x7f, 0..20)), 0..20),
            body in proptest::collection::vec(any::<u8>(), 0..300),
        ) {
            let mut headers = HeaderMap::new();
            for (name, value) in lines {
                headers.append(
                    HeaderName::from_bytes(name.as_bytes()).expect("a name"),
                    HeaderValue::from_bytes(&value).expect("a value"),
                );
            }
            let (born_ms, lifetime_ms, initial_age_ms, swr_ms, sie_ms, keep_ms, cost_ms, epoch, count) = times;
            let life = Life {
                born_ms, lifetime_ms, initial_age_ms, swr_ms, sie_ms, keep_ms, cost_ms, is_told,
                seq: Seq { epoch, count, token },
                tags: tags.into_iter().map(Tag).collect(),
            };
            let status = StatusCode::from_u16(status).expect("a status");
            let head = Head { status, headers, life };
            let blob = written(&head, &[&body]);
            let read = Entry::decode(blob, &digest());
            prop_assert_eq!(read, Some(Entry::Response(Stored { head, body: body.into() })));
        }

        #[test]
        fn nothing_panics(blob in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = Entry::decode(blob.into(), &digest());
        }

        #[test]
        fn nothing_behind_the_checksum_panics(
            kind in prop_oneof![0u8..6, (0u8..6).prop_map(|kind| kind | PACKED)],
            content in proptest::collection::vec(any::<u8>(), 0..200),
        ) {
            let _ = Entry::decode(framed(kind, &content), &digest());
        }

        #[test]
        fn no_content_of_an_answer_panics(
            lines in any::<u16>(),
            rest in proptest::collection::vec(0u8..4, 0..100),
        ) {
            let mut content = vec![0; 83];
            content.extend(200u16.to_le_bytes());
            content.extend(lines.to_le_bytes());
            content.extend(rest);
            let _ = Entry::decode(framed(RESPONSE, &content), &digest());
        }
    }
}
