//! Sealed values: encrypted, and bound to their session and key.

use std::fmt;

use bytes::Bytes;
use chacha20poly1305::{
    Key as CipherKey, KeyInit, XChaCha20Poly1305, XNonce,
    aead::{Aead, Payload},
};
use sha2::{Digest, Sha256};

use super::format::SEALED;
use crate::error::{Error, Kind};

/// XChaCha20-Poly1305 under the first key; values under the other keys are read.
///
/// Stored: the byte `SEALED`, 4 bytes that name the key, a random nonce of 24 bytes, the ciphertext with its tag. The
/// session's id and the field's key are authenticated too, so a value does not open in another place.
#[derive(Clone)]
pub(crate) struct Seal {
    keys: Vec<([u8; NAME], XChaCha20Poly1305)>,
    /// Values that are not sealed are read, too.
    pub(crate) lenient: bool,
}

impl Seal {
    pub(crate) fn new(key: &[u8; 32]) -> Self {
        Self {
            keys: vec![named(key)],
            lenient: false,
        }
    }

    pub(crate) fn push(&mut self, key: &[u8; 32]) {
        self.keys.push(named(key));
    }

    pub(crate) fn close(&self, id: &str, key: &str, plain: &[u8]) -> Result<Bytes, Error> {
        let mut nonce = [0; NONCE];
        getrandom::fill(&mut nonce).map_err(|error| {
            Error::new(Kind::Unavailable, "the system gave no random bytes").caused_by(error)
        })?;
        let (name, cipher) = &self.keys[0];
        let aad = associated(id, key);
        let payload = Payload {
            msg: plain,
            aad: &aad,
        };
        let sealed = cipher
            .encrypt(XNonce::from_slice(&nonce), payload)
            .map_err(|_| Error::new(Kind::Codec, format!("session field `{key}` is too large")))?;
        Ok([&[SEALED][..], name, &nonce, &sealed].concat().into())
    }

    pub(crate) fn open(&self, id: &str, key: &str, stored: &Bytes) -> Result<Bytes, Error> {
        let Some((&SEALED, rest)) = stored.split_first() else {
            return if self.lenient {
                Ok(stored.clone())
            } else {
                Err(refused(key, "is not sealed"))
            };
        };
        if rest.len() < NAME + NONCE {
            return Err(refused(key, "cannot be opened"));
        }
        let (name, rest) = rest.split_at(NAME);
        let (nonce, sealed) = rest.split_at(NONCE);
        let aad = associated(id, key);
        self.keys
            .iter()
            .filter(|(candidate, _)| candidate == name)
            .find_map(|(_, cipher)| {
                let payload = Payload {
                    msg: sealed,
                    aad: &aad,
                };
                cipher.decrypt(XNonce::from_slice(nonce), payload).ok()
            })
            .map(Bytes::from)
            .ok_or_else(|| refused(key, "cannot be opened"))
    }
}

/// Compares the names of the keys, which are parts of their digests.
impl PartialEq for Seal {
    fn eq(&self, other: &Self) -> bool {
        let names = |seal: &Self| -> Vec<_> { seal.keys.iter().map(|(name, _)| *name).collect() };
        self.lenient == other.lenient && names(self) == names(other)
    }
}

impl fmt::Debug for Seal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Seal(..)")
    }
}

fn named(key: &[u8; 32]) -> ([u8; NAME], XChaCha20Poly1305) {
    let digest = Sha256::new()
        .chain_update(b"tower-fred seal")
        .chain_update(key)
        .finalize();
    let mut name = [0; NAME];
    name.copy_from_slice(&digest[..NAME]);
    (name, XChaCha20Poly1305::new(CipherKey::from_slice(key)))
}

/// An id has a fixed length, so no two pairs give the same bytes.
fn associated(id: &str, key: &str) -> Vec<u8> {
    [id.as_bytes(), b":", key.as_bytes()].concat()
}

fn refused(key: &str, why: &str) -> Error {
    Error::new(Kind::Corrupt, format!("session field `{key}` {why}"))
}

const NAME: usize = 4;
const NONCE: usize = 24;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_opens_only_where_it_was_sealed() {
        let seal = Seal::new(&[1; 32]);
        let stored = seal.close("id", "k", b"plain").unwrap();
        assert_eq!(seal.open("id", "k", &stored).unwrap(), "plain");
        assert!(!stored.windows(5).any(|part| part == b"plain"));
        assert_ne!(stored, seal.close("id", "k", b"plain").unwrap());
        assert!(seal.open("di", "k", &stored).unwrap_err().is_corrupt());
        assert!(seal.open("id", "l", &stored).unwrap_err().is_corrupt());
        assert!(Seal::new(&[2; 32]).open("id", "k", &stored).is_err());
        for index in 0..stored.len() {
            let mut bent = stored.to_vec();
            bent[index] ^= 1;
            assert!(seal.open("id", "k", &bent.into()).is_err(), "{index}");
            assert!(seal.open("id", "k", &stored.slice(..index)).is_err());
        }
    }

    #[test]
    fn a_previous_key_still_opens() {
        let old = Seal::new(&[1; 32]);
        let mut new = Seal::new(&[2; 32]);
        new.push(&[1; 32]);
        let stored = old.close("id", "k", b"1").unwrap();
        assert_eq!(new.open("id", "k", &stored).unwrap(), "1");
        let stored = new.close("id", "k", b"2").unwrap();
        assert!(old.open("id", "k", &stored).is_err());
    }

    #[test]
    fn what_is_not_sealed_is_read_only_when_asked_for() {
        let mut seal = Seal::new(&[1; 32]);
        let plain = Bytes::from_static(b"1");
        assert!(seal.open("id", "k", &plain).unwrap_err().is_corrupt());
        seal.lenient = true;
        assert_eq!(seal.open("id", "k", &plain).unwrap(), "1");
    }
}
