//! The allowed names and sizes of what a session holds.

use bytes::Bytes;
use serde::Serialize;

use super::codec::Codec;
use crate::error::{Error, Kind};

/// Whether a name is reserved for this crate: its own fields, and flash messages.
pub(crate) fn is_reserved(key: &str) -> bool {
    key.starts_with([MARK, FLASH])
}

/// An error if a key is not allowed.
pub(crate) fn check_key(key: &str) -> Result<(), Error> {
    if is_reserved(key) {
        return Err(Error::new(
            Kind::Codec,
            "a session key must not begin with `!` or `~`",
        ));
    }
    if key.is_empty() || key.len() > MAX_KEY {
        return Err(Error::new(
            Kind::Codec,
            format!("a session key must have 1 to {MAX_KEY} bytes"),
        ));
    }
    Ok(())
}

/// Encodes a value, and checks the bounds of its key and size.
pub(crate) fn encode<T: Serialize + ?Sized>(
    codec: &Codec,
    key: &str,
    value: &T,
) -> Result<Bytes, Error> {
    check_key(key)?;
    check_value(key, codec.encode(key, value)?)
}

pub(crate) fn check_value(key: &str, value: Bytes) -> Result<Bytes, Error> {
    if value.len() > MAX_VALUE {
        return Err(Error::new(
            Kind::Codec,
            format!("session field `{key}` is larger than {MAX_VALUE} bytes"),
        ));
    }
    Ok(value)
}

/// The longest key of a field, in bytes.
pub const MAX_KEY: usize = 128;
/// The largest value of a field as it is encoded, in bytes.
pub const MAX_VALUE: usize = 64 * 1024;
/// The longest name of a user, in bytes.
pub const MAX_USER: usize = 256;
/// The longest label of a login, in bytes.
pub const MAX_LABEL: usize = 256;
/// The largest metadata of a login as JSON, in bytes.
pub const MAX_METADATA: usize = 4 * 1024;

/// What the names of this crate's own fields begin with.
pub(crate) const MARK: char = '!';
/// What the names of flash messages begin with.
pub(crate) const FLASH: char = '~';

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_and_values_are_bounded() {
        let codec = Codec::default();
        for bad in ["", "!h", "!", "~x", &"k".repeat(MAX_KEY + 1)] {
            assert!(encode(&codec, bad, &1).unwrap_err().is_codec(), "{bad}");
        }
        assert!(encode(&codec, &"k".repeat(MAX_KEY), &1).is_ok());
        // Two bytes of the JSON are the quotes.
        assert!(encode(&codec, "k", &"v".repeat(MAX_VALUE - 2)).is_ok());
        assert!(encode(&codec, "k", &"v".repeat(MAX_VALUE - 1)).is_err());
    }
}
