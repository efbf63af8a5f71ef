//! The application's secret keys, and the HMACs that are made with them.

use std::fmt;

use bytes::Bytes;
use hmac::{Hmac, Mac};
use sha2::Sha256;

use super::token::{HASH, Token, same_hash};

/// A secret of the application. `Debug` does not show it.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Key(Vec<u8>);

impl Key {
    /// # Panics
    ///
    /// When it has fewer than 32 bytes.
    pub(crate) fn new(bytes: &[u8]) -> Self {
        assert!(
            bytes.len() >= SHORTEST,
            "a key must have at least {SHORTEST} bytes of randomness"
        );
        Self(bytes.to_vec())
    }

    /// A key that no other process has; none when the system has no randomness.
    pub(crate) fn random() -> Option<Self> {
        let mut bytes = vec![0; SHORTEST];
        getrandom::fill(&mut bytes).ok()?;
        Some(Self(bytes))
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Key(..)")
    }
}

/// HMAC-SHA256 (RFC 2104).
pub(crate) fn mac(key: &[u8], parts: &[&[u8]]) -> [u8; HASH] {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes keys of any length");
    for part in parts {
        mac.update(part);
    }
    mac.finalize().into_bytes().into()
}

/// A part of a keyed hash of a session's id, for logs: it tells sessions apart and does not reveal the id.
pub(crate) fn pseudonym(key: Option<&Key>, id: &str) -> String {
    let Some(key) = key else {
        return "-".into();
    };
    let digest = mac(&key.0, &[b"tower-fred log", id.as_bytes()]);
    digest[..8]
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

/// The keys of the hashes of secrets: the first key makes new hashes, all of them are tried for stored ones.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Peppers(Vec<Key>);

impl Peppers {
    pub(crate) fn push(&mut self, key: Key) {
        self.0.push(key);
    }

    pub(crate) fn insert_first(&mut self, key: Key) {
        self.0.insert(0, key);
    }

    pub(crate) fn are_none(&self) -> bool {
        self.0.is_empty()
    }

    /// All hashes of this token's secret that a record may have: HMACs of id and secret, then HMACs of the secret alone,
    /// which earlier versions stored.
    pub(crate) fn hashes(&self, token: &Token) -> Hashes {
        if self.are_none() {
            return Hashes {
                all: Bytes::copy_from_slice(&token.hash()),
                bound: HASH,
            };
        }
        let bound = self.0.iter().map(|key| {
            let parts = [b"tower-fred secret", token.selector(), token.secret()];
            mac(&key.0, &parts)
        });
        let unbound = self.0.iter().map(|key| mac(&key.0, &[token.secret()]));
        Hashes {
            all: bound.chain(unbound).collect::<Vec<_>>().concat().into(),
            bound: self.0.len() * HASH,
        }
    }

    /// The tag that binds this user to this token: an HMAC of id, secret and user, stored beside the hash. Empty without
    /// a pepper, and without a user.
    pub(crate) fn tag(&self, token: &Token, user: Option<&str>) -> Bytes {
        match (self.0.first(), user) {
            (Some(key), Some(user)) => {
                Bytes::copy_from_slice(&user_tag(key, token, user.as_bytes()))
            }
            _ => Bytes::new(),
        }
    }

    /// The HMAC that binds together the parts of a note about an imported session. Empty without a pepper.
    #[cfg(feature = "tower-sessions-import")]
    pub(crate) fn seal_note(&self, parts: &[&[u8]; 4]) -> Bytes {
        let [name, id, lineage, user] = *parts;
        // All but the last have a fixed length, so no two lists of parts are the same bytes.
        let parts = [b"tower-fred import", name, id, lineage, user];
        self.0.first().map_or_else(Bytes::new, |key| {
            Bytes::copy_from_slice(&mac(&key.0, &parts))
        })
    }

    /// Whether a stored tag binds this user to this token.
    pub(crate) fn have_tagged(&self, token: &Token, user: &[u8], tag: Option<&Bytes>) -> bool {
        tag.is_some_and(|tag| {
            self.0.iter().fold(false, |found, key| {
                found | same_hash(&user_tag(key, token, user), tag)
            })
        })
    }
}

fn user_tag(key: &Key, token: &Token, user: &[u8]) -> [u8; HASH] {
    // Id and secret have a fixed length, so no two lists of parts are the same bytes.
    let parts = [b"tower-fred user", token.selector(), token.secret(), user];
    mac(&key.0, &parts)
}

/// Hashes of one secret, one after the other; the first is the one to store.
#[derive(Clone)]
pub(crate) struct Hashes {
    all: Bytes,
    /// The length of the hashes that are bound to the id. The hashes after them are of the secret alone.
    bound: usize,
}

impl Hashes {
    /// Whether `stored` is one that is not bound to the id.
    pub(crate) fn is_unbound(&self, stored: &[u8]) -> bool {
        is_among(&self.all[self.bound..], stored)
    }

    /// Whether `stored` is one of them, in constant time.
    pub(crate) fn contain(&self, stored: &[u8]) -> bool {
        is_among(&self.all, stored)
    }

    pub(crate) fn all(&self) -> Bytes {
        self.all.clone()
    }

    /// The one to store.
    pub(crate) fn first(&self) -> Bytes {
        self.all.slice(..HASH)
    }
}

fn is_among(hashes: &[u8], stored: &[u8]) -> bool {
    hashes
        .chunks_exact(HASH)
        .fold(false, |found, hash| found | same_hash(hash, stored))
}

const SHORTEST: usize = 32;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rfc_4231_test_case_2() {
        let digest = mac(b"Jefe", &[b"what do ya want ", b"for nothing?"]);
        let hex: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(
            hex,
            "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"
        );
    }

    #[test]
    fn a_pepper_makes_other_hashes_and_a_previous_one_still_counts() {
        let token = Token::generate().unwrap();
        let plain = Peppers::default();
        assert_eq!(plain.hashes(&token).first(), token.hash()[..]);
        let mut old = Peppers::default();
        old.push(Key::new(&[1; 32]));
        let mut both = old.clone();
        both.insert_first(Key::new(&[2; 32]));
        let stored = old.hashes(&token).first();
        assert!(!plain.hashes(&token).contain(&stored));
        assert!(both.hashes(&token).contain(&stored));
        assert_ne!(both.hashes(&token).first(), stored);
        assert!(!old.hashes(&token).contain(&both.hashes(&token).first()));
        // With a pepper, the plain hash is what somebody else wrote.
        assert!(!both.hashes(&token).contain(&token.hash()));
        assert!(!both.hashes(&token).contain(b"short"));
    }

    #[test]
    fn a_pseudonym_is_keyed_and_short() {
        let (one, other) = (Key::new(&[1; 32]), Key::new(&[2; 32]));
        assert_eq!(pseudonym(Some(&one), "id").len(), 16);
        assert_eq!(pseudonym(Some(&one), "id"), pseudonym(Some(&one), "id"));
        assert_ne!(pseudonym(Some(&one), "id"), pseudonym(Some(&other), "id"));
        assert_ne!(pseudonym(Some(&one), "id"), pseudonym(Some(&one), "di"));
        assert_eq!(pseudonym(None, "id"), "-");
    }

    #[test]
    #[should_panic(expected = "at least 32 bytes")]
    fn a_short_key_is_refused() {
        let _ = Key::new(b"hunter2");
    }

    #[test]
    fn debug_shows_no_key() {
        assert_eq!(format!("{:?}", Key::new(&[7; 32])), "Key(..)");
    }
}
