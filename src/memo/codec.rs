//! The formats of values and keys.

use bytes::Bytes;
use serde::{Serialize, de::DeserializeOwned};

use crate::error::{Error, Kind};

/// The format of values. It is part of each key, since another format might read a value as something else.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Codec {
    Json,
    #[cfg(feature = "messagepack")]
    MessagePack,
}

impl Codec {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Json => "json",
            #[cfg(feature = "messagepack")]
            Self::MessagePack => "messagepack",
        }
    }

    pub(crate) fn encode(self, value: &impl Serialize) -> Result<Bytes, Error> {
        const MESSAGE: &str = "a memo's value cannot be encoded";
        match self {
            Self::Json => serde_json::to_vec(value)
                .map(Bytes::from)
                .map_err(|error| Error::new(Kind::Codec, MESSAGE).caused_by(error)),
            // With field names, so that fields may be added and removed.
            #[cfg(feature = "messagepack")]
            Self::MessagePack => rmp_serde::to_vec_named(value)
                .map(Bytes::from)
                .map_err(|error| Error::new(Kind::Codec, MESSAGE).caused_by(error)),
        }
    }

    /// `None` when it does not decode. The error may quote the value: it is dropped.
    pub(crate) fn decode<T: DeserializeOwned>(self, encoded: &[u8]) -> Option<T> {
        match self {
            Self::Json => serde_json::from_slice(encoded).ok(),
            #[cfg(feature = "messagepack")]
            Self::MessagePack => rmp_serde::from_slice(encoded).ok(),
        }
    }
}

/// Keys are encoded as JSON: `7` and `"7"` are different keys, and a tuple may be a key.
pub(crate) fn encode_key(key: &impl Serialize) -> Result<Vec<u8>, Error> {
    serde_json::to_vec(key)
        .map_err(|error| Error::new(Kind::Codec, "a memo's key cannot be encoded").caused_by(error))
}
