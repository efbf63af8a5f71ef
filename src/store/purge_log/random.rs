//! Random numbers: unique tokens, and chance.

use crate::error::{Error, Kind};

/// Eight bytes that no other draw gives.
pub(crate) fn token() -> Result<[u8; 8], Error> {
    let mut token = [0; 8];
    getrandom::fill(&mut token)
        .map_err(|error| Error::new(Kind::Unavailable, "no randomness").caused_by(error))?;
    Ok(token)
}

/// A random number above 0 and at most 1.
pub(crate) fn chance() -> f64 {
    use std::hash::{BuildHasher, RandomState};
    let number = RandomState::new().hash_one(0) >> 32;
    (number + 1) as f64 / (1u64 << 32) as f64
}
