//! CSRF tokens: only pages of this session can send them back.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use bytes::Bytes;

use super::session::Session;
use crate::{
    error::{Error, Kind},
    session::{
        credential::{keys::mac, token::same_hash},
        record::changes::Renewal,
    },
};

impl Session {
    /// A token for the forms and scripts of this session's pages, of 43 characters that are safe in HTML and headers.
    ///
    /// It is derived by HMAC from the session's secret as it was at the last login or rotation, so it changes with those
    /// and stays the same when the secret is only renewed. Each call masks it with other random bytes, so that
    /// compression does not leak it (BREACH). It begins a session if there is none. It first writes a buffered login or
    /// rotation.
    ///
    /// `SameSite=Lax`, the default, keeps forms of other sites from sending the cookie. The token adds to that for
    /// browsers that do not know it, and for other hosts of the same site.
    ///
    /// ```no_run
    /// # async fn example(session: tower_fred::Session, sent: &str) -> Result<(), tower_fred::Error> {
    /// let form = format!("<input type=hidden name=csrf value={}>", session.csrf_token().await?);
    ///
    /// // When the form comes back: 403 unless it is this session's.
    /// session.check_csrf(sent).await?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// As [`get`](Self::get) and [`commit`](Self::commit).
    pub async fn csrf_token(&self) -> Result<String, Error> {
        self.mark_used();
        let _io = self.inner.io.lock().await;
        // A login or rotation is buffered: the CSRF token must be that of the new secret.
        let replaced = !matches!(self.state().changes.renewal, Renewal::Keep);
        if replaced {
            self.flush().await?;
        }
        self.load_locked().await?;
        if self.state().holder().is_none() {
            self.state().changes.begin = true;
            self.flush().await?;
        }
        let lineage = self.state().holder().map(|holder| holder.lineage.clone());
        let Some(lineage) = lineage.filter(|lineage| !lineage.is_empty()) else {
            return Err(Error::new(
                Kind::Interrupted,
                "the session ended while the request ran, or has a new token",
            ));
        };
        let mut bytes = [0; 2 * LENGTH];
        getrandom::fill(&mut bytes[..LENGTH]).map_err(|error| {
            Error::new(Kind::Unavailable, "the system gave no random bytes").caused_by(error)
        })?;
        let (mask, masked) = bytes.split_at_mut(LENGTH);
        for (byte, (mask, own)) in masked.iter_mut().zip(mask.iter().zip(digest(&lineage))) {
            *byte = mask ^ own;
        }
        Ok(URL_SAFE_NO_PAD.encode(bytes))
    }

    /// Refuses a request whose [token](Self::csrf_token) is not one of this session.
    ///
    /// # Errors
    ///
    /// A [forbidden](Error::is_forbidden) one, 403 as a response, for any other text and where there is no session;
    /// otherwise as [`get`](Self::get).
    pub async fn check_csrf(&self, token: &str) -> Result<(), Error> {
        self.mark_used();
        let mut bytes = [0; 2 * LENGTH];
        let length = URL_SAFE_NO_PAD.decode_slice(token, &mut bytes);
        if length == Ok(bytes.len()) {
            self.load().await?;
            let lineage = self.state().holder().map(|holder| holder.lineage.clone());
            let lineage: Bytes = lineage.unwrap_or_default();
            let (mask, masked) = bytes.split_at(LENGTH);
            let sent: Vec<u8> = mask.iter().zip(masked).map(|(a, b)| a ^ b).collect();
            if !lineage.is_empty() && same_hash(&sent, &digest(&lineage)) {
                return Ok(());
            }
        }
        Err(Error::new(
            Kind::Forbidden,
            "the CSRF token is not this session's",
        ))
    }
}

fn digest(lineage: &[u8]) -> [u8; LENGTH] {
    let mut digest = [0; LENGTH];
    digest.copy_from_slice(&mac(lineage, &[b"tower-fred csrf"])[..LENGTH]);
    digest
}

const LENGTH: usize = 16;
