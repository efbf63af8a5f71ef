//! The user of a session: login, logout, and the user's other sessions.

use std::time::{Duration, SystemTime};

use super::session::Session;
use crate::{
    error::{Error, Kind},
    session::{
        credential::holder::Holder,
        record::{changes::Renewal, login::Login, session_record::Found},
        state::session_state::too_late,
        store::devices::Device,
    },
};

impl Session {
    /// Logs a user in: the session becomes the user's and gets a new token. The token from before is no longer valid.
    ///
    /// Takes the user's name, or a [`Login`] with more. Call it after the credentials were checked, also when the same
    /// user proves them again. If the old session has just ended, the login does not fail but begins a new session.
    ///
    /// The values stay when nobody was logged in (a shopping cart), or when the same user was. When another user was
    /// logged in, they are removed, with flash messages and with the changes that this request made before the login;
    /// changes after the login stay. [`Login::keeping_values`] keeps them all.
    ///
    /// It is written when the response leaves, and may be refused then: the response becomes a 403 when the user has
    /// [too many](crate::session::SessionStore::refuse_above) sessions, or all of them were
    /// [revoked](crate::session::SessionStore::revoke_all) after this request began. Call [`commit`](Self::commit) to
    /// handle these errors yourself.
    ///
    /// # Errors
    ///
    /// A [codec](Error::is_codec) error when the user is not of 1 to [`MAX_USER`](crate::session::MAX_USER) bytes, a
    /// [too late](Error::is_too_late) one when the response has left: its cookie cannot be changed.
    pub fn login(&self, login: impl Into<Login>) -> Result<(), Error> {
        let mut state = self.used();
        if state.is_sent() {
            return Err(too_late());
        }
        let mut login = login.into();
        login.revoked_at = state.revoked_at;
        state.changes.log_in(login)
    }

    /// The user of this session, if one logged in. It reads as [`get`](Self::get) does.
    ///
    /// # Errors
    ///
    /// As [`get`](Self::get).
    pub async fn user(&self) -> Result<Option<String>, Error> {
        if let Some(login) = self.used().changes.login() {
            return Ok(Some(login.user.clone()));
        }
        self.load().await?;
        let state = self.state();
        let user = state.record().and_then(|record| record.user());
        Ok(user.map(str::to_owned))
    }

    /// When the user last logged in, by Redis's clock. It reads as [`get`](Self::get) does.
    ///
    /// # Errors
    ///
    /// As [`get`](Self::get).
    pub async fn auth_at(&self) -> Result<Option<SystemTime>, Error> {
        if self.used().changes.login().is_some() {
            return Ok(Some(SystemTime::now()));
        }
        self.load().await?;
        let state = self.state();
        Ok(state
            .record()
            .and_then(crate::session::record::session_record::Record::auth_at))
    }

    /// An error unless the user logged in recently: for actions such as a change of the password.
    ///
    /// ```no_run
    /// use std::time::Duration;
    /// use tower_fred::{Error, Session};
    ///
    /// async fn change_password(session: &Session) -> Result<(), Error> {
    ///     session.require_recent_auth(Duration::from_secs(5 * 60)).await?;
    ///     // …
    ///     session.revoke_others().await?;
    ///     Ok(())
    /// }
    /// ```
    ///
    /// # Errors
    ///
    /// A [forbidden](Error::is_forbidden) one, 403 as a response, when nobody is logged in, when the login is older than
    /// `age`, and when it is more than 60 seconds in the future: then one of the clocks was set back, and the age of the
    /// login is unknown. Otherwise as [`get`](Self::get).
    pub async fn require_recent_auth(&self, age: Duration) -> Result<(), Error> {
        if let Some(at) = self.auth_at().await? {
            let recent = match SystemTime::now().duration_since(at) {
                Ok(elapsed) => elapsed <= age,
                Err(ahead) => ahead.duration() <= CLOCK_SKEW,
            };
            if recent {
                return Ok(());
            }
        }
        Err(Error::new(
            Kind::Forbidden,
            "this needs a user who logged in recently",
        ))
    }

    /// Ends the session when the response leaves, whatever its status, and removes the cookie. The cookie is also removed
    /// when the session has ended already, but not when a login in another request replaced the token of this one.
    ///
    /// Changes made before are dropped; changes made after it begin a new session without any values of this one.
    pub fn logout(&self) {
        self.used().log_out();
        #[cfg(feature = "tower-sessions-import")]
        self.log_out_imported();
    }

    /// Replaces the token when the response leaves; the old one is no longer valid. [`login`](Self::login) does this too.
    ///
    /// Call it when the rights of the session change in another way. Without a session it does nothing.
    pub fn rotate(&self) {
        let renewal = &mut self.used().changes.renewal;
        if *renewal == Renewal::Keep {
            *renewal = Renewal::Rotate;
        }
    }

    /// Whether the session still exists. Asks Redis on each call: for a WebSocket or a stream, before something
    /// important. It counts as use. [`ended`](Self::ended) waits for the end without a command for each check.
    ///
    /// False after a logout, a revocation or a timeout, and after a login or rotation in another request, which needs the
    /// new token. The renewal of a token does not end the session.
    ///
    /// # Errors
    ///
    /// An [unavailable](Error::is_unavailable) error when Redis does not answer.
    pub async fn is_alive(&self) -> Result<bool, Error> {
        self.mark_used();
        self.load().await?;
        let holder: Option<Holder> = self.state().holder().cloned();
        match holder {
            None => Ok(false),
            Some(holder) => {
                let found = self.store().find(&holder).await?;
                self.use_after_response();
                Ok(matches!(found, Found::Live(..)))
            }
        }
    }

    /// The live sessions of this session's user, the most recently used first. Empty when nobody is logged in.
    ///
    /// # Errors
    ///
    /// An [unavailable](Error::is_unavailable) error when Redis does not answer.
    pub async fn devices(&self) -> Result<Vec<Device>, Error> {
        match self.user().await? {
            Some(user) => self.store().list(&user).await,
            None => Ok(Vec::new()),
        }
    }

    /// Ends the session with this id if it belongs to this session's user. Returns whether it did.
    ///
    /// # Errors
    ///
    /// As [`devices`](Self::devices).
    pub async fn revoke(&self, id: &str) -> Result<bool, Error> {
        match self.user().await? {
            Some(user) => self.store().revoke(&user, id).await,
            None => Ok(false),
        }
    }

    /// Ends all other sessions of this session's user. Returns how many there were. See
    /// [`SessionStore::revoke_all`](crate::session::SessionStore::revoke_all).
    ///
    /// # Errors
    ///
    /// As [`devices`](Self::devices); some sessions may live on then. Call it again.
    pub async fn revoke_others(&self) -> Result<usize, Error> {
        let Some(user) = self.user().await? else {
            return Ok(0);
        };
        let kept = self.id().unwrap_or_default();
        let (count, at) = self.store().revoke_except(&user, Some(&kept)).await?;
        // The revocation must not refuse a login of the same request.
        let mut state = self.state();
        state.revoked_at = at;
        state.changes.revoked_at(at);
        Ok(count)
    }
}

/// How far Redis's clock may be ahead of this host's before the age of a login counts as unknown.
const CLOCK_SKEW: Duration = Duration::from_secs(60);
