//! [`Device`]: the list of a user's sessions for the user, and ending one or all of them.

use std::{fmt, time::SystemTime};

use bytes::Bytes;
use serde::de::DeserializeOwned;
use tokio::task::JoinSet;

use super::{
    revocation::{AT_ONCE, PAGE, Revoking},
    session_store::SessionStore,
};
use crate::{
    error::{Error, Kind},
    redis::Script,
    session::record::{
        codec::decode,
        operation::Ended,
        session_record::{number, time},
    },
};

/// A session in the list of its user. See [`SessionStore::list`].
#[derive(Clone)]
pub struct Device {
    pub(crate) id: String,
    pub(crate) user: String,
    created: i64,
    last_seen: i64,
    authenticated: i64,
    end: i64,
    label: String,
    metadata: Bytes,
}

impl Device {
    /// The session's id, for [`SessionStore::revoke`]. It is not a credential: as a cookie it is no valid token.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// When the session began, maybe before its user logged in.
    pub fn created(&self) -> SystemTime {
        time(self.created)
    }

    /// When it was last used; accurate to 60 seconds or a tenth of the idle timeout, whichever is less.
    pub fn last_seen(&self) -> SystemTime {
        time(self.last_seen)
    }

    /// When the user last logged in with it.
    pub fn auth_at(&self) -> SystemTime {
        time(self.authenticated)
    }

    /// When it ends, even if it is used until then.
    pub fn ends(&self) -> SystemTime {
        time(self.end)
    }

    /// The [label](crate::session::Login::label) of the login; empty if it has none.
    pub fn label(&self) -> &str {
        &self.label
    }

    /// The [metadata](crate::session::Login::metadata) of the login, if it has any.
    ///
    /// # Errors
    ///
    /// A [codec](Error::is_codec) error when it is not a `T`.
    pub fn metadata<T: DeserializeOwned>(&self) -> Result<Option<T>, Error> {
        let metadata = Some(&self.metadata).filter(|metadata| !metadata.is_empty());
        metadata.map(|bytes| decode("metadata", bytes)).transpose()
    }
}

impl fmt::Debug for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Device").finish_non_exhaustive()
    }
}

impl SessionStore {
    /// The live sessions of a user, the most recently used first; at most 1,000.
    ///
    /// ```no_run
    /// # async fn example(sessions: tower_fred::session::SessionStore) -> Result<(), tower_fred::Error> {
    /// for device in sessions.list("user 7").await? {
    ///     println!("{} {} {:?}", device.id(), device.label(), device.last_seen());
    /// }
    /// sessions.revoke_all("user 7").await?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// An [unavailable](Error::is_unavailable) error when Redis does not answer.
    pub async fn list(&self, user: &str) -> Result<Vec<Device>, Error> {
        let (_, listed) = self.listed(user, 0, Revoking::No).await?;
        let mut gone = Vec::new();
        let mut devices = Vec::with_capacity(listed.len());
        for (id, device) in self.describe_all(listed).await? {
            match device {
                None => gone.push(id),
                // It has another user now, or a login has not made it this user's yet.
                Some(device) if device.user != user => {}
                Some(device) => devices.push(device),
            }
        }
        self.unlist(user, &gone).await;
        devices.sort_by_key(|device| std::cmp::Reverse(device.last_seen));
        Ok(devices)
    }

    /// Ends the session with this id if it belongs to this user. Returns whether it did.
    ///
    /// # Errors
    ///
    /// As [`list`](Self::list).
    pub async fn revoke(&self, user: &str, id: &str) -> Result<bool, Error> {
        // No session has such an id: no command is needed.
        if user.is_empty() || !is_id(id) {
            return Ok(false);
        }
        let ended = self.revoke_one(id, Some(user), None).await?;
        if matches!(ended, Ended::Done(_)) {
            self.unlist(user, &[id.to_owned()]).await;
            return Ok(true);
        }
        Ok(false)
    }

    /// Ends all sessions of a user. Returns how many there were.
    ///
    /// A login in another request is [refused](Error::is_forbidden), with 403, if the check of its credentials began
    /// before this. It may also be refused if the check began shortly after: by a few milliseconds, and by as much as a
    /// reply of Redis was late. So change the password first, then call this.
    ///
    /// A session that is not in the user's list, because Redis evicted the list, is not counted. It ends at its next
    /// use, or within a touch interval of it (60 seconds, or a tenth of the idle timeout if that is less): a use asks
    /// the list, which knows of this revocation for 400 days, or for the longest timeout if that is more. See
    /// [eviction](crate::session#eviction).
    ///
    /// # Errors
    ///
    /// As [`list`](Self::list); some sessions may live on then. Call it again. An [unavailable](Error::is_unavailable)
    /// one also when Redis's memory is full: the sessions that are listed were deleted, but the revocation may not be
    /// noted, so that a login on its way is not refused.
    pub async fn revoke_all(&self, user: &str) -> Result<usize, Error> {
        Ok(self.revoke_except(user, None).await?.0)
    }

    /// Ends all sessions of a user except the one with this id. Returns how many there were. Otherwise as
    /// [`revoke_all`](Self::revoke_all).
    ///
    /// # Errors
    ///
    /// As [`revoke_all`](Self::revoke_all).
    pub async fn revoke_others(&self, user: &str, kept: &str) -> Result<usize, Error> {
        Ok(self.revoke_except(user, Some(kept)).await?.0)
    }

    /// As `revoke_others`. Also returns when, by Redis's clock, in Unix milliseconds.
    pub(crate) async fn revoke_except(
        &self,
        user: &str,
        kept: Option<&str>,
    ) -> Result<(usize, i64), Error> {
        let (at, mut page) = self.listed(user, 0, Revoking::Now(kept)).await?;
        let (mut ended, mut from) = (0, 0);
        loop {
            let length = page.len();
            page.retain(|id| Some(id.as_str()) != kept);
            // The one that is kept stays in the list, before the next page.
            from += length - page.len();
            ended += self.revoke_all_of(&page, Some(user)).await?;
            self.unlist(user, &page).await;
            if length < PAGE {
                break;
            }
            (_, page) = self.listed(user, from, Revoking::No).await?;
        }
        if at == 0 {
            return Err(Error::new(
                Kind::Unavailable,
                "the sessions that are listed were ended, but the revocation could not be noted",
            ));
        }
        Ok((ended, at))
    }

    /// Reads what the list shows of these sessions, in any order.
    pub(crate) async fn describe_all(
        &self,
        ids: Vec<String>,
    ) -> Result<Vec<(String, Option<Device>)>, Error> {
        let mut described = Vec::with_capacity(ids.len());
        for chunk in ids.chunks(AT_ONCE) {
            let mut tasks = JoinSet::new();
            for id in chunk {
                let (store, id) = (self.clone(), id.clone());
                tasks.spawn(async move { (store.describe(&id).await, id) });
            }
            while let Some(result) = tasks.join_next().await {
                let (device, id) = result.map_err(|error| {
                    Error::new(Kind::Unavailable, "a session was not described").caused_by(error)
                })?;
                described.push((id, device?));
            }
        }
        Ok(described)
    }

    async fn describe(&self, id: &str) -> Result<Option<Device>, Error> {
        let words: Vec<Bytes> = self.redis.run(&DESCRIBE, &self.key(id), []).await?;
        let [state, user, times @ .., label, metadata] = words.as_slice() else {
            return Ok(None);
        };
        if state != "live" || times.len() != 4 {
            return Ok(None);
        }
        let text = |bytes: &Bytes| String::from_utf8_lossy(bytes).into_owned();
        let millis = |index: usize| number(&times[index]).unwrap_or(0);
        Ok(Some(Device {
            id: id.to_owned(),
            user: text(user),
            created: millis(0),
            last_seen: millis(1),
            authenticated: millis(2),
            end: millis(3),
            label: text(label),
            metadata: Bytes::copy_from_slice(metadata),
        }))
    }
}

fn is_id(id: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    id.len() == ID && id.bytes().all(allowed)
}

static DESCRIBE: Script = Script::reading(include_str!("lua/describe.lua"));

/// The length of a session's id.
const ID: usize = 22;
