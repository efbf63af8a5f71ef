//! The credential in the cookie: a public selector and a secret.

use std::fmt;

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use bytes::Bytes;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use crate::error::{Error, Kind};

/// What a browser proves its session with: 16 bytes that name the record, and 32 secret bytes of which only a hash is
/// stored.
///
/// Both come from the operating system's random number generator. [`id`](Self::id) may be shown and logged;
/// [`cookie_value`](Self::cookie_value) is a credential. `Debug` shows neither.
#[derive(Clone)]
pub struct Token {
    selector: [u8; SELECTOR],
    secret: [u8; SECRET],
}

impl Token {
    pub(crate) fn generate() -> Result<Self, Error> {
        Self::generate_from(getrandom::fill)
    }

    /// The same session under a new secret.
    pub(crate) fn renewed(&self) -> Result<Self, Error> {
        let fresh = Self::generate()?;
        Ok(Self {
            selector: self.selector,
            ..fresh
        })
    }

    fn generate_from<E>(fill: impl Fn(&mut [u8]) -> Result<(), E>) -> Result<Self, Error>
    where
        E: std::error::Error + Send + Sync + 'static,
    {
        let mut bytes = [0; SELECTOR + SECRET];
        // Never a weaker token: without randomness there is no session.
        fill(&mut bytes).map_err(|error| {
            Error::new(Kind::Unavailable, "the system gave no random bytes").caused_by(error)
        })?;
        Ok(Self::from_bytes(&bytes))
    }

    /// Reads a cookie value: exactly 64 characters of the URL-safe base64 alphabet, or nothing.
    pub(crate) fn parse(value: &[u8]) -> Option<Self> {
        if value.len() != ENCODED {
            return None;
        }
        let mut bytes = [0; SELECTOR + SECRET];
        let length = URL_SAFE_NO_PAD.decode_slice(value, &mut bytes).ok()?;
        (length == bytes.len()).then(|| Self::from_bytes(&bytes))
    }

    /// A token with this id and a secret that no browser has, for a caller that proves its session in another way.
    #[cfg(feature = "tower-sessions-import")]
    pub(crate) fn without_secret(id: &str) -> Option<Self> {
        let mut selector = [0; SELECTOR];
        let length = URL_SAFE_NO_PAD.decode_slice(id, &mut selector).ok()?;
        let fresh = Self::generate().ok()?;
        (length == SELECTOR).then_some(Self { selector, ..fresh })
    }

    fn from_bytes(bytes: &[u8; SELECTOR + SECRET]) -> Self {
        let mut token = Self {
            selector: [0; SELECTOR],
            secret: [0; SECRET],
        };
        token.selector.copy_from_slice(&bytes[..SELECTOR]);
        token.secret.copy_from_slice(&bytes[SELECTOR..]);
        token
    }

    /// The public handle of the session, 22 characters. It stays when the token is replaced, and opens nothing.
    pub fn id(&self) -> String {
        URL_SAFE_NO_PAD.encode(self.selector)
    }

    /// The credential itself, 64 characters: for a cookie or an `Authorization` header, never for a log.
    pub fn cookie_value(&self) -> String {
        let mut bytes = [0; SELECTOR + SECRET];
        bytes[..SELECTOR].copy_from_slice(&self.selector);
        bytes[SELECTOR..].copy_from_slice(&self.secret);
        URL_SAFE_NO_PAD.encode(bytes)
    }

    /// The bytes of the id.
    pub(crate) fn selector(&self) -> &[u8] {
        &self.selector
    }

    /// What only the holder of the cookie knows.
    pub(crate) fn secret(&self) -> &[u8] {
        &self.secret
    }

    /// What the record stores of the secret when there is no pepper.
    pub(crate) fn hash(&self) -> [u8; HASH] {
        Sha256::digest(self.secret).into()
    }

    /// The lineage: it stays the same when the secret is only renewed, and changes with a login or a rotation.
    pub(crate) fn lineage(&self) -> Bytes {
        let digest = Sha256::new()
            .chain_update(b"tower-fred lineage")
            .chain_update(self.secret)
            .finalize();
        Bytes::copy_from_slice(&digest[..LINEAGE])
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(..)")
    }
}

/// Whether two hashes are equal, in constant time.
pub(crate) fn same_hash(one: &[u8], other: &[u8]) -> bool {
    one.ct_eq(other).into()
}

const SELECTOR: usize = 16;
const SECRET: usize = 32;
const ENCODED: usize = (SELECTOR + SECRET) / 3 * 4;
const LINEAGE: usize = 16;
/// The length of a stored hash, in bytes.
pub(crate) const HASH: usize = 32;

#[cfg(test)]
mod tests {
    use std::{collections::HashSet, io};

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_cookie_value_reads_back() {
        let token = Token::generate().unwrap();
        let value = token.cookie_value();
        let read = Token::parse(value.as_bytes()).unwrap();
        assert_eq!(value.len(), 64);
        assert_eq!(read.cookie_value(), value);
        assert_eq!(read.id(), token.id());
        assert!(!value.contains(&URL_SAFE_NO_PAD.encode(token.hash())));
    }

    #[test]
    fn a_renewed_token_keeps_the_id_and_changes_the_secret() {
        let token = Token::generate().unwrap();
        let renewed = token.renewed().unwrap();
        assert_eq!(renewed.id(), token.id());
        assert!(!same_hash(&renewed.hash(), &token.hash()));
    }

    #[test]
    fn d01_without_randomness_there_is_no_token() {
        let error = Token::generate_from(|_| Err(io::Error::other("no entropy"))).unwrap_err();
        assert!(error.is_unavailable());
    }

    /// Every byte position takes every value about equally often: a stuck or short generator fails by far.
    #[test]
    fn d01_tokens_are_unique_and_evenly_spread() {
        const COUNT: usize = 20_000;
        let mut seen = HashSet::with_capacity(COUNT);
        let mut histogram = [0_u32; 256];
        for _ in 0..COUNT {
            let token = Token::generate().unwrap();
            for byte in token.selector.iter().chain(&token.secret) {
                histogram[usize::from(*byte)] += 1;
            }
            assert!(seen.insert(token.cookie_value()));
        }
        let expected = (COUNT * (SELECTOR + SECRET)) as f64 / 256.0;
        let chi_square: f64 = histogram
            .iter()
            .map(|count| (f64::from(*count) - expected).powi(2) / expected)
            .sum();
        // 255 degrees of freedom: the mean is 255 and the deviation 22.6, so this is eleven deviations away.
        assert!(chi_square < 500.0, "{chi_square}");
    }

    #[test]
    fn length_and_alphabet_are_exact() {
        let value = Token::generate().unwrap().cookie_value();
        for bad in [
            String::new(),
            value[..63].to_owned(),
            format!("{value}A"),
            format!("{value}="),
            format!("\"{value}\""),
            format!(" {}", &value[1..]),
            format!("+{}", &value[1..]),
            format!("/{}", &value[1..]),
            format!("{}==", &value[..62]),
            format!("{}\n", &value[..63]),
        ] {
            assert!(Token::parse(bad.as_bytes()).is_none(), "{bad:?}");
        }
    }

    #[test]
    fn debug_shows_nothing() {
        assert_eq!(format!("{:?}", Token::generate().unwrap()), "Token(..)");
    }

    proptest! {
        #[test]
        fn only_its_own_text_is_a_token(value in proptest::collection::vec(any::<u8>(), 0..200)) {
            if let Some(token) = Token::parse(&value) {
                prop_assert_eq!(token.cookie_value().into_bytes(), value);
            }
        }

        #[test]
        fn any_text_of_the_alphabet_reads_back(value in "[A-Za-z0-9_-]{64}") {
            prop_assert_eq!(Token::parse(value.as_bytes()).unwrap().cookie_value(), value);
        }
    }
}
