//! Flash messages: shown once, on the next page.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use serde::{Serialize, de::DeserializeOwned};

use super::session::Session;
use crate::{
    error::{Error, Kind},
    session::{
        record::{
            bounds::{FLASH, check_value},
            codec::decode,
        },
        store::records::unix_millis,
    },
};

impl Session {
    /// Leaves a message for the next page, usually after a redirect. It is written when the response leaves.
    ///
    /// Each message is a field of its own, so requests at the same time lose none.
    ///
    /// ```no_run
    /// # async fn example(session: tower_fred::Session) -> Result<(), tower_fred::Error> {
    /// session.flash("your order is on its way")?;
    ///
    /// // On the next page:
    /// for message in session.take_flashes::<String>().await? {
    ///     println!("{message}");
    /// }
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// A [codec](Error::is_codec) error when the message cannot be encoded or is larger than
    /// [`MAX_VALUE`](crate::session::MAX_VALUE), an [unavailable](Error::is_unavailable) one when the system has no
    /// random bytes.
    pub fn flash<T: Serialize + ?Sized>(&self, message: &T) -> Result<(), Error> {
        let mut unique = [0; 6];
        getrandom::fill(&mut unique).map_err(|error| {
            Error::new(Kind::Unavailable, "the system gave no random bytes").caused_by(error)
        })?;
        let value = self.store().settings.codec.encode("flash", message)?;
        let value = check_value("flash", value)?;
        let mut state = self.used();
        // Keys sort by time, then by the order in this request.
        let place = state.changes.fields.len();
        let now = unix_millis();
        let unique = URL_SAFE_NO_PAD.encode(unique);
        state.buffer(&format!("{FLASH}{now:013}-{place:04}-{unique}"), value);
        Ok(())
    }

    /// Returns the messages, the oldest first, and removes them when the response leaves.
    ///
    /// # Errors
    ///
    /// As [`get`](Self::get). A message that does not decode as a `T` is removed nevertheless, so the error does not
    /// repeat.
    pub async fn take_flashes<T: DeserializeOwned>(&self) -> Result<Vec<T>, Error> {
        self.mark_used();
        self.load().await?;
        let mut state = self.state();
        let is_flash = |key: &&str| key.starts_with(FLASH);
        state.inherit();
        let mut keys: Vec<String> = Vec::new();
        if let Some(record) = state.record().filter(|_| !state.changes.drops_values) {
            keys.extend(record.keys().filter(is_flash).map(str::to_owned));
        }
        let pending = state.changes.fields.keys().map(String::as_str);
        keys.extend(pending.filter(is_flash).map(str::to_owned));
        keys.sort_unstable();
        keys.dedup();
        let mut messages = Vec::with_capacity(keys.len());
        let mut failed = None;
        for key in keys {
            let plain = match state.changes.fields.get(&key) {
                Some(pending) => Ok(pending.clone()),
                None => state.record().map_or(Ok(None), |record| record.plain(&key)),
            };
            match plain.and_then(|plain| plain.map(|plain| decode("flash", &plain)).transpose()) {
                Ok(message) => messages.extend(message),
                Err(error) => failed = Some(error),
            }
            state.changes.fields.insert(key, None);
        }
        failed.map_or(Ok(messages), Err)
    }
}
