//! A struct as a view of the session: one stored field for each field of the struct.

use std::{
    fmt,
    ops::{Deref, DerefMut},
};

use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Map, Value};

use super::session::Session;
use crate::{
    error::{Error, Kind},
    session::{record::bounds::check_key, store::session_store::fields_of},
};

/// A struct whose fields are stored as fields of the session. See [`Session::typed`].
///
/// Requests that change different fields of the struct at once keep both, as with [`Session::insert`]: only the fields
/// that were changed are written.
///
/// No derive of this crate is needed: serde tells the fields of anything that it serializes as a struct. They pass
/// through `serde_json::Value`, so a field may be whatever JSON can say, `#[serde(rename, flatten, skip)]` work as ever,
/// and whole numbers have at most 64 bits. A field that is not stored has its value of `Default`. Its names are those
/// that `T::default()` serializes as: `#[serde(skip_serializing_if)]` must not leave one of them out, or it is never
/// read.
///
/// ```no_run
/// use serde::{Deserialize, Serialize};
/// use tower_fred::{Error, Session};
///
/// #[derive(Default, Serialize, Deserialize)]
/// struct Shopper {
///     theme: String,
///     cart: Vec<u64>,
/// }
///
/// async fn add(session: &Session, item: u64) -> Result<(), Error> {
///     let mut shopper = session.typed::<Shopper>().await?;
///     shopper.cart.push(item);
///     shopper.save()
/// }
/// ```
///
/// Changes are lost without [`save`](Self::save): a write on drop could not report an error.
#[must_use = "changes are lost without `save`"]
pub struct Typed<T> {
    session: Session,
    value: T,
    /// The fields as they were, to tell which were changed.
    before: Map<String, Value>,
}

impl Session {
    /// The session as a struct. It reads as [`get`](Self::get) does.
    ///
    /// # Errors
    ///
    /// As [`get`](Self::get), and a [codec](Error::is_codec) error when `T` is no struct or map.
    pub async fn typed<T>(&self) -> Result<Typed<T>, Error>
    where
        T: Default + Serialize + DeserializeOwned,
    {
        let mut fields = fields_of(&T::default())?;
        for key in fields.keys().cloned().collect::<Vec<_>>() {
            check_key(&key)?;
            if let Some(value) = self.get(&key).await? {
                fields.insert(key, value);
            }
        }
        // The cause is left out: serde_json quotes values in its messages.
        let value = serde_json::from_value(Value::Object(fields.clone())).map_err(|_| {
            let text = "the session's fields do not decode as the struct asked for";
            Error::new(Kind::Codec, text)
        })?;
        Ok(Typed {
            session: self.clone(),
            value,
            before: fields,
        })
    }
}

impl<T: Serialize> Typed<T> {
    /// Buffers the fields that were changed, to be written when the response leaves. Fields that are gone, as those that
    /// `skip_serializing_if` leaves out, are removed.
    ///
    /// # Errors
    ///
    /// As [`Session::insert`]; fields before the one that failed are changed then.
    pub fn save(self) -> Result<(), Error> {
        let after = fields_of(&self.value)?;
        for key in self.before.keys().filter(|key| !after.contains_key(*key)) {
            self.session.remove(key);
        }
        for (key, value) in &after {
            if self.before.get(key) != Some(value) {
                self.session.insert(key, value)?;
            }
        }
        Ok(())
    }
}

impl<T> Deref for Typed<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.value
    }
}

impl<T> DerefMut for Typed<T> {
    fn deref_mut(&mut self) -> &mut T {
        &mut self.value
    }
}

impl<T> fmt::Debug for Typed<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Typed").finish_non_exhaustive()
    }
}
