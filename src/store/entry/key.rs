//! Keys: digests that no two different things share.

use std::fmt;

/// The 256-bit digest that names an entry. Its first half is in the Redis key; all of it is in the entry.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Digest([u8; Digest::LENGTH]);

impl Digest {
    pub(crate) const LENGTH: usize = 32;

    pub(crate) fn as_bytes(&self) -> &[u8; Self::LENGTH] {
        &self.0
    }

    /// The first 128 bits in hexadecimal, as they appear in Redis keys.
    pub(crate) fn short(&self) -> String {
        let mut text = String::with_capacity(Self::LENGTH);
        self.push_short(&mut text);
        text
    }

    /// Appends [`short`](Self::short) to a text.
    pub(crate) fn push_short(&self, text: &mut String) {
        let (half, _) = self.0.split_at(Self::LENGTH / 2);
        text.extend(
            half.iter()
                .flat_map(|byte| [byte >> 4, byte & 15])
                .map(digit),
        );
    }
}

fn digit(value: u8) -> char {
    char::from(value + if value < 10 { b'0' } else { b'a' - 10 })
}

/// Shows as much as the Redis key does.
impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.short())
    }
}

/// Hashes a list of byte strings, each with its length before it, so that different lists never look alike.
///
/// A hasher takes two kilobytes, which are cleared and moved. Most lists are short: they are hashed at once, without one.
pub(crate) struct KeyBuilder {
    short: [u8; SHORT],
    length: usize,
    /// The hasher of a list that is too long for `short`.
    long: Option<Box<blake3::Hasher>>,
}

impl KeyBuilder {
    /// Begins a list of the kind `domain`. Lists of different kinds never share a key.
    pub(crate) fn new(domain: &str) -> Self {
        let mut key = Self {
            short: [0; SHORT],
            length: 0,
            long: None,
        };
        key.part(domain.as_bytes());
        key
    }

    pub(crate) fn part(&mut self, bytes: &[u8]) -> &mut Self {
        let [a, b, c, d, e, f, g, h] = (bytes.len() as u64).to_le_bytes();
        self.push(&[1, a, b, c, d, e, f, g, h]);
        self.push(bytes);
        self
    }

    /// A member that may be absent: that differs from an empty one.
    pub(crate) fn optional(&mut self, bytes: Option<&[u8]>) -> &mut Self {
        match bytes {
            Some(bytes) => self.part(bytes),
            None => {
                self.push(&[0]);
                self
            }
        }
    }

    #[inline]
    fn push(&mut self, bytes: &[u8]) {
        if let Some(hasher) = &mut self.long {
            hasher.update(bytes);
            return;
        }
        let end = self.length + bytes.len();
        match self.short.get_mut(self.length..end) {
            Some(room) => {
                room.copy_from_slice(bytes);
                self.length = end;
            }
            None => {
                let mut hasher = Box::new(blake3::Hasher::new());
                hasher.update(&self.short[..self.length]).update(bytes);
                self.long = Some(hasher);
            }
        }
    }

    pub(crate) fn finish(&self) -> Digest {
        let hash = match &self.long {
            Some(hasher) => hasher.finalize(),
            None => blake3::hash(&self.short[..self.length]),
        };
        Digest(*hash.as_bytes())
    }
}

/// Enough for most URLs with their host.
const SHORT: usize = 256;

/// The digests by which a response is stored and purged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Key {
    /// Of the parts of the request by which responses are told apart, as the handler sees them.
    pub(crate) resource: Digest,
    /// What a purge names: the same for all keys of equivalent URIs, see [`group`](super::uri::group).
    pub(crate) group: Digest,
}

/// The digest of a URI, from its parts as they are written.
pub(crate) fn resource(host: &str, path: &str, query: Option<&str>) -> Digest {
    KeyBuilder::new("resource")
        .part(b"GET")
        .part(host.as_bytes())
        .part(path.as_bytes())
        .optional(query.map(str::as_bytes))
        .finish()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn digest(parts: &[Option<Vec<u8>>]) -> Digest {
        let mut key = KeyBuilder::new("test");
        for part in parts {
            key.optional(part.as_deref());
        }
        key.finish()
    }

    #[test]
    fn look_alike_resources_differ() {
        let all = [
            resource("a", "/b", None),
            resource("a", "/b", Some("")),
            resource("a", "/b?", None),
            resource("a", "/b", Some("c")),
            resource("a", "/bc", None),
            resource("a/b", "", None),
            resource("", "a/b", None),
            resource("a", "/B", None),
            resource("a", "/%62", None),
        ];
        for (i, one) in all.iter().enumerate() {
            assert!(all[i + 1..].iter().all(|other| other != one), "{i}");
        }
    }

    #[test]
    fn a_list_of_any_length_is_hashed_as_one_text() {
        for length in [0, 1, SHORT - 60, SHORT, SHORT + 1, 5000] {
            let text = vec![b'x'; length];
            let mut whole = blake3::Hasher::new();
            for part in [&b"test"[..], &text, b"end"] {
                whole
                    .update(&[1])
                    .update(&(part.len() as u64).to_le_bytes());
                whole.update(part);
            }
            let digest = KeyBuilder::new("test").part(&text).part(b"end").finish();
            assert_eq!(digest.as_bytes(), whole.finalize().as_bytes(), "{length}");
        }
    }

    #[test]
    fn a_short_digest_is_half_of_it() {
        let digest = resource("a", "/b", None);
        assert_eq!(digest.short().len(), 32);
        assert!(format!("{digest:?}").len() == 32);
        assert_eq!(
            u8::from_str_radix(&digest.short()[..2], 16).expect("hexadecimal"),
            digest.as_bytes()[0]
        );
    }

    proptest! {
        #[test]
        fn different_lists_have_different_digests(
            a in proptest::collection::vec(proptest::option::of(proptest::collection::vec(0u8..3, 0..4)), 0..5),
            b in proptest::collection::vec(proptest::option::of(proptest::collection::vec(0u8..3, 0..4)), 0..5),
        ) {
            prop_assert_eq!(a == b, digest(&a) == digest(&b));
        }
    }
}
