//! Who the session is of: logins, logouts, and what they allow.

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
    /// Makes this the session of a user, under a new token: the one from before the login is dead.
    ///
    /// Takes the user's name, or a [`Login`] that says more. Call it when the credentials were checked, also when the same
    /// user proves them again. A login never fails because the old session just ended: a new one begins then.
    ///
    /// The values stay when nobody was logged in (a shopping cart) or the same user was. When another user was, they are
    /// removed, with flash messages and with what this request changed before the login; what it changes after the login
    /// stays. [`Login::keeping_values`] keeps them all.
    ///
    /// It is written when the response leaves, and may be refused then: the response becomes a 403 when the user has
    /// [too many](crate::session::SessionStore::refuse_above) sessions, or all of them were
    /// [revoked](crate::session::SessionStore::revoke_all) after this request began. Call [`commit`](Self::commit) to answer that
    /// in another way.
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

    /// When the user last proved who they are, by Redis's clock. It reads as [`get`](Self::get) does.
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

    /// Refuses what a user must have logged in lately for, such as a change of the password.
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
    /// A [forbidden](Error::is_forbidden) one, 403 as a response, when nobody logged in, when the login is longer ago than
    /// `age`, and when it is more than 60 seconds in the future: one of the clocks was set back then, and the age of the
    /// login is not known. Otherwise as [`get`](Self::get).
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
            "this needs a user who logged in lately",
        ))
    }

    /// Ends the session when the response leaves, whatever its status, and removes the cookie: also that of a session that
    /// has ended already, but not the cookie of a login that replaced the token of this request.
    ///
    /// Changes made before are dropped; changes made after begin a new session that has nothing of this one.
    pub fn logout(&self) {
        self.used().log_out();
        #[cfg(feature = "tower-sessions-import")]
        self.log_out_imported();
    }

    /// Replaces the token when the response leaves: the old one is dead. [`login`](Self::login) does so by itself.
    ///
    /// Call it when the session's rights change in another way. Where there is no session it does nothing.
    pub fn rotate(&self) {
        let renewal = &mut self.used().changes.renewal;
        if *renewal == Renewal::Keep {
            *renewal = Renewal::Rotate;
        }
    }

    /// Whether the session is still there, asked anew: for a WebSocket or a stream, before something that matters. It
    /// counts as use. [`ended`](Self::ended) waits for the end without a command each time.
    ///
    /// False after a logout, a revocation, a timeout, and after a login or rotation elsewhere, which is another's. A token
    /// that was only renewed does not end it.
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

    /// The live sessions of this session's user, the one used last first. Empty when nobody logged in.
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

    /// Ends the session with this handle, if it is one of this session's user: whether it was.
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

    /// Ends all other sessions of this session's user: how many there were. See
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
        // A login of this request is by who asked for it.
        let mut state = self.state();
        state.revoked_at = at;
        state.changes.revoked_at(at);
        Ok(count)
    }
}

/// How far Redis's clock may be ahead of this host's before the age of a login counts as unknown.
const CLOCK_SKEW: Duration = Duration::from_secs(60);
