//! Reading the list of a user, and ending sessions whoever holds them.

use std::time::Duration;

use tokio::task::JoinSet;

use super::{session_store::SessionStore, user_index::CLOCK_SKEW};
use crate::{
    error::{Error, Kind},
    redis::{Script, Value},
    session::record::{operation::Ended, session_record::millis},
};

impl SessionStore {
    /// One page of the ids listed. Notes that all were revoked just now, if that is what they are read for, and says when.
    pub(crate) async fn listed(
        &self,
        user: &str,
        from: usize,
        revoking: Revoking<'_>,
    ) -> Result<(i64, Vec<String>), Error> {
        let known_for = match revoking {
            Revoking::No => "".into(),
            Revoking::Now(_) => {
                let settings = &self.settings;
                let life = settings.absolute.max(settings.remembered);
                millis(life.max(REVOCATION_KNOWN))
                    .saturating_add(CLOCK_SKEW)
                    .into()
            }
        };
        let kept = match revoking {
            Revoking::No => "",
            Revoking::Now(kept) => kept.unwrap_or_default(),
        };
        let from = i64::try_from(from).unwrap_or(i64::MAX);
        let page = i64::try_from(PAGE).unwrap_or(i64::MAX);
        let args: [Value; 4] = [from.into(), page.into(), known_for, kept.into()];
        let mut words: Vec<String> = self.redis.run(&LIST, &self.index(user), args).await?;
        let ids = words.split_off(words.len().min(1));
        let at = words.first().and_then(|at| at.parse().ok());
        Ok((at.unwrap_or(0), ids))
    }

    /// Ends a session whoever holds it: if it is this user's, or anybody's, and of a login that was listed then, if that
    /// is said.
    pub(crate) async fn revoke_one(
        &self,
        id: &str,
        user: Option<&str>,
        listed_at: Option<i64>,
    ) -> Result<Ended, Error> {
        let listed_at = listed_at.map_or_else(|| "".into(), Value::from);
        let args: [Value; 2] = [user.unwrap_or_default().into(), listed_at];
        let words: Vec<String> = self.redis.run(&REVOKE, &self.key(id), args).await?;
        match words.as_slice() {
            [word, user] if word == "done" => {
                self.log("revoked", id);
                Ok(Ended::Done(Some(user.clone())))
            }
            _ => Ok(Ended::Gone),
        }
    }

    /// Ends sessions whoever holds them: how many there were, of this user if one is named.
    pub(crate) async fn revoke_all_of(
        &self,
        ids: &[String],
        user: Option<&str>,
    ) -> Result<usize, Error> {
        let mut ended = 0;
        for chunk in ids.chunks(AT_ONCE) {
            let mut tasks = JoinSet::new();
            for id in chunk {
                let (store, id) = (self.clone(), id.clone());
                tasks.spawn(async move { store.revoke_one(&id, None, None).await });
            }
            while let Some(result) = tasks.join_next().await {
                let outcome = result.map_err(|error| {
                    Error::new(Kind::Unavailable, "a revocation did not end").caused_by(error)
                })?;
                ended += usize::from(match outcome? {
                    Ended::Done(owner) => user.is_none() || owner.as_deref() == user,
                    _ => false,
                });
            }
        }
        Ok(ended)
    }
}

/// Whether a list is read in order to revoke all of it, and which session that keeps.
#[derive(Clone, Copy)]
pub(crate) enum Revoking<'a> {
    No,
    Now(Option<&'a str>),
}

static LIST: Script = Script::new(include_str!("lua/list.lua"));
static REVOKE: Script = Script::new(concat!(
    include_str!("lua/publish_end.lua"),
    include_str!("lua/revoke.lua")
));

/// How many ids a list is read at a time.
pub(crate) const PAGE: usize = 1000;
/// How many sessions are asked about at once.
pub(crate) const AT_ONCE: usize = 32;
/// How long it is known at least that all sessions of a user were revoked: browsers keep no cookie for longer, whoever set
/// it. A session that may live for longer is known for as long.
const REVOCATION_KNOWN: Duration = Duration::from_secs(400 * 24 * 60 * 60);
