//! Encodes and decodes values. The first byte of a stored value tells its form, so reading depends on no setting.
//!
//! No JSON begins with one of these bytes.

use bytes::Bytes;
use serde::{Serialize, de::DeserializeOwned};

use super::format::{Format, MESSAGE_PACK, SEALED};
#[cfg(feature = "seal")]
use super::seal::Seal;
use crate::error::{Error, Kind};

/// How values are written. All forms are read.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Codec {
    pub(crate) format: Format,
    #[cfg(feature = "seal")]
    pub(crate) seal: Option<std::sync::Arc<Seal>>,
}

impl Codec {
    /// A value as plain bytes.
    pub(crate) fn encode<T: Serialize + ?Sized>(
        &self,
        key: &str,
        value: &T,
    ) -> Result<Bytes, Error> {
        // The cause is left out: it quotes values, and errors are logged.
        let refused = || {
            Error::new(
                Kind::Codec,
                format!("session field `{key}` cannot be written in this form"),
            )
        };
        match self.format {
            Format::Json => serde_json::to_vec(value)
                .map(Bytes::from)
                .map_err(|_| refused()),
            #[cfg(feature = "messagepack")]
            Format::MessagePack => {
                let mut bytes = vec![MESSAGE_PACK];
                rmp_serde::encode::write_named(&mut bytes, value).map_err(|_| refused())?;
                Ok(bytes.into())
            }
        }
    }

    /// Whether stored values are sealed, so that they differ from the plain ones.
    pub(crate) fn seals(&self) -> bool {
        #[cfg(feature = "seal")]
        return self.seal.is_some();
        #[cfg(not(feature = "seal"))]
        false
    }

    /// The stored form of a plain value.
    #[cfg_attr(
        not(feature = "seal"),
        expect(clippy::unnecessary_wraps, unused_variables, reason = "for `seal`")
    )]
    pub(crate) fn close(&self, id: &str, key: &str, plain: &Bytes) -> Result<Bytes, Error> {
        #[cfg(feature = "seal")]
        if let Some(seal) = &self.seal {
            return seal.close(id, key, plain);
        }
        Ok(plain.clone())
    }

    /// The plain value of a stored one.
    #[cfg_attr(not(feature = "seal"), expect(unused_variables, reason = "for `seal`"))]
    pub(crate) fn open(&self, id: &str, key: &str, stored: &Bytes) -> Result<Bytes, Error> {
        #[cfg(feature = "seal")]
        if let Some(seal) = &self.seal {
            return seal.open(id, key, stored);
        }
        if stored.first() == Some(&SEALED) {
            return Err(Error::new(
                Kind::Codec,
                format!("session field `{key}` is sealed, and there is no key to open it with"),
            ));
        }
        Ok(stored.clone())
    }
}

/// Reads a plain value in whichever form it is.
pub(crate) fn decode<T: DeserializeOwned>(key: &str, plain: &[u8]) -> Result<T, Error> {
    let refused = |place: String| {
        Error::new(
            Kind::Codec,
            format!("session field `{key}` does not decode as the type asked for{place}"),
        )
    };
    match plain.split_first() {
        #[cfg(feature = "messagepack")]
        Some((&MESSAGE_PACK, rest)) => {
            rmp_serde::from_slice(rest).map_err(|_| refused(String::new()))
        }
        #[cfg(not(feature = "messagepack"))]
        Some((&MESSAGE_PACK, _)) => Err(refused(
            ": it is MessagePack, which needs the feature `messagepack`".into(),
        )),
        _ => serde_json::from_slice(plain)
            .map_err(|error| refused(format!(", at {}:{}", error.line(), error.column()))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_does_not_quote_the_value() {
        let error = decode::<u32>("pin", br#""hunter2""#).unwrap_err();
        assert!(!format!("{error} {error:?}").contains("hunter2"));
    }

    #[test]
    fn json_begins_with_no_mark() {
        for value in [
            serde_json::json!(1),
            serde_json::json!({ "a": [] }),
            serde_json::json!("\u{1}"),
        ] {
            let bytes = Codec::default().encode("k", &value).unwrap();
            assert!(bytes[0] > SEALED);
            assert_eq!(decode::<serde_json::Value>("k", &bytes).unwrap(), value);
        }
    }

    #[cfg(feature = "messagepack")]
    #[test]
    fn both_forms_are_read_whichever_is_written() {
        let codec = Codec {
            format: Format::MessagePack,
            ..Codec::default()
        };
        let value = ("text".to_owned(), -1_i64, vec![1_u8]);
        let packed = codec.encode("k", &value).unwrap();
        let json = Codec::default().encode("k", &value).unwrap();
        assert!(packed.len() < json.len());
        for bytes in [packed, json] {
            assert_eq!(
                decode::<(String, i64, Vec<u8>)>("k", &bytes).unwrap(),
                value
            );
        }
        let error = decode::<u32>("pin", &codec.encode("pin", "hunter2").unwrap()).unwrap_err();
        assert!(!format!("{error} {error:?}").contains("hunter2"));
    }

    #[test]
    fn what_is_sealed_needs_a_key() {
        let codec = Codec::default();
        let sealed = Bytes::from_static(&[SEALED, 1, 2, 3]);
        assert!(codec.open("id", "k", &sealed).unwrap_err().is_codec());
    }
}
