//! The index of a user's sessions: a sorted set of their ids.
//!
//! A session and the index of its user are in different slots of a cluster, so no script can change both. Therefore a
//! login first adds the session to the index, and then writes the user to the session's record, which must exist
//! already. So every session of a user is in the index. An id in the index whose session has ended is skipped and
//! removed.
//!
//! The revocation of all sessions stores its time in the index, reads the ids, and deletes the sessions. A login that was
//! in the index before has its session deleted, so its write finds no record. A login that is added later is refused if
//! the check of its credentials began before the revocation.
//!
//! Redis may evict the index. So a use of a session checks it, at most once per touch interval (`index_check.rs`): the
//! session is added again, unless all sessions were revoked after its login was added.

use std::time::Instant;

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use sha2::{Digest, Sha256};

use super::{records::unix_millis, session_store::SessionStore};
use crate::{
    error::{Error, Kind},
    redis::{Script, Value},
    session::{
        credential::holder::Holder,
        record::{
            changes::{Changes, Renewal},
            index_entry::{NewSession, Reservation},
            login::Login,
            operation::Outcome,
            session_record::{millis, number},
        },
    },
};

impl SessionStore {
    /// Begins a session with these values, adds it to the user's index, and makes it the user's.
    pub(crate) async fn begin_for(
        &self,
        login: &Login,
        changes: &Changes,
        began: Instant,
    ) -> Result<NewSession, Error> {
        let token = self.begin(changes).await?;
        let (id, next) = (token.id(), token.renewed()?);
        let holder = Holder::made(token);
        let life = self.life(login, 0);
        let listed_at = match self.enrol(login, &id, life, began).await {
            Ok(listed_at) => listed_at,
            Err(error) => {
                // Best effort: no browser has its token.
                let _ = self.end(&holder).await;
                return Err(error);
            }
        };
        let login = Login {
            listed_at,
            ..login.clone()
        };
        let renewal = Renewal::Login(login.clone());
        let written = self.commit(&holder, &renewal, Some(&next), Vec::new());
        match written.await? {
            Outcome::Done(done) => Ok(NewSession {
                token: next,
                remembered: done.remembered,
                reservation: self.reservation(&login, &id, life),
            }),
            _ => {
                self.unlist(&login.user, &[id]).await;
                Err(revoked())
            }
        }
    }

    /// How long a session may live after a login, in milliseconds; a little too long, so that the index keeps it.
    pub(crate) fn life(&self, login: &Login, end: i64) -> i64 {
        let life = if login.remembered {
            millis(self.settings.remembered)
        } else if end > 0 {
            end.saturating_sub(unix_millis()).max(0)
        } else {
            millis(self.settings.absolute)
        };
        life.saturating_add(CLOCK_SKEW)
    }

    /// Adds a session to the index of the user who logs in, or returns why the login is refused.
    ///
    /// `life` is how long the session may live, in milliseconds; `began` is when the check of the credentials began.
    /// Returns when the session was added, by the clock of the index's server.
    pub(crate) async fn enrol(
        &self,
        login: &Login,
        id: &str,
        life: i64,
        began: Instant,
    ) -> Result<i64, Error> {
        let user = &login.user;
        let words = self
            .ask_to_enrol(login, id, life, began, "ask", &[])
            .await?;
        let mut words = words.into_iter();
        let word = words.next();
        if word.as_deref() != Some("full") {
            return self
                .read_enrolment(user, word.as_deref(), words.collect())
                .await;
        }
        let listed = self.describe_all(words.collect()).await?;
        // Also those that are another user's, if all of these are confirmed: then no unfinished login is among them.
        let all_confirmed = self.provisional() > 0;
        let dead = listed.into_iter().filter(|(_, session)| {
            let owner = session.as_ref().map(|session| &session.user);
            owner.is_none_or(|owner| all_confirmed && owner != user)
        });
        let dead: Vec<String> = dead.map(|(id, _)| id).collect();
        let evicts = self.settings.per_user.is_some_and(|limit| limit.evicts);
        let policy = if evicts { "evict" } else { "refuse" };
        let words = self
            .ask_to_enrol(login, id, life, began, policy, &dead)
            .await?;
        let mut words = words.into_iter();
        let word = words.next();
        self.read_enrolment(user, word.as_deref(), words.collect())
            .await
    }

    async fn ask_to_enrol(
        &self,
        login: &Login,
        id: &str,
        life: i64,
        began: Instant,
        policy: &'static str,
        dead: &[String],
    ) -> Result<Vec<String>, Error> {
        // NOTE: the limit that a script is given to run in is twice the deadline away.
        let patience = millis(self.redis.deadline()).saturating_mul(2);
        let most = self.settings.per_user.map_or(0, |limit| limit.most);
        let mut args: Vec<Value> = vec![
            id.into(),
            life.max(1).into(),
            patience.into(),
            i64::from(most).into(),
            policy.into(),
            login.revoked_at.into(),
            self.provisional().into(),
        ];
        args.extend(dead.iter().map(|id| id.as_str().into()));
        self.redis
            .run_since(&ENROL, &self.index(&login.user), began, args)
            .await
    }

    async fn read_enrolment(
        &self,
        user: &str,
        word: Option<&str>,
        mut evicted: Vec<String>,
    ) -> Result<i64, Error> {
        match word {
            Some("done") if !evicted.is_empty() => {}
            Some("revoked") => {
                return Err(revoked());
            }
            Some("full") => {
                return Err(Error::new(
                    Kind::Forbidden,
                    "the user has as many sessions as a user may have",
                ));
            }
            _ => return Err(Error::new(Kind::Corrupt, "the user's index is not ours")),
        }
        let listed_at = evicted.remove(0);
        // They stay in the index until they are deleted: if this future is dropped, the next login finds them.
        if !evicted.is_empty() {
            self.revoke_all_of(&evicted, None).await?;
            self.unlist(user, &evicted).await;
        }
        Ok(number(listed_at.as_bytes()).unwrap_or(0))
    }

    /// The reservation of a login that was written, if it has to be [confirmed](Self::confirm).
    pub(crate) fn reservation(&self, login: &Login, id: &str, life: i64) -> Option<Reservation> {
        (self.provisional() > 0).then(|| Reservation {
            user: login.user.clone(),
            id: id.to_owned(),
            life,
            listed_at: login.listed_at,
        })
    }

    /// How long an unconfirmed login keeps its place, in milliseconds. 0 if no confirmation is needed: only with
    /// `refuse_above` does a place keep other logins out, so only then must it expire.
    fn provisional(&self) -> i64 {
        let refuses = self.settings.per_user.is_some_and(|limit| !limit.evicts);
        // A script runs at most two deadlines after it was sent, and the one before it took at most one.
        let longest = millis(self.redis.deadline()).saturating_mul(4);
        i64::from(refuses) * longest.saturating_add(1000)
    }

    /// Removes sessions that have ended from the index. A failure is harmless: readers skip them.
    pub(crate) async fn unlist(&self, user: &str, ids: &[String]) {
        if ids.is_empty() {
            return;
        }
        let args: Vec<Value> = ids.iter().map(|id| id.as_str().into()).collect();
        let done: Result<(i64,), Error> = self.redis.run(&UNLIST, &self.index(user), args).await;
        if let Err(error) = done {
            tracing::debug!(target: "tower_fred::session", %error, "sessions that are over stay listed");
        }
    }

    pub(crate) fn index(&self, user: &str) -> String {
        let namespace = self.redis.namespace();
        // Hashed, so that any text can be a name, no name is visible in a key, and no name chooses its slot.
        let digest = Sha256::digest(user);
        let name = URL_SAFE_NO_PAD.encode(&digest[..16]);
        match &self.settings.realm {
            None => format!("{namespace}:u:{{{name}}}"),
            Some(realm) => format!("{namespace}:u.{realm}:{{{name}}}"),
        }
    }
}

fn revoked() -> Error {
    Error::new(
        Kind::Forbidden,
        "the user's sessions were revoked while this login ran",
    )
}

/// How far this host's clock may be behind Redis's, in milliseconds, before a live session is left out of the list.
pub(crate) const CLOCK_SKEW: i64 = 60_000;

static ENROL: Script = Script::new(include_str!("lua/enrol.lua"));
static UNLIST: Script = Script::new(include_str!("lua/unlist.lua"));
