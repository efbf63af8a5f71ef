//! Reads the index of a user, and ends sessions without their tokens.

use std::time::Duration;

use tokio::task::JoinSet;

use super::{session_store::SessionStore, user_index::CLOCK_SKEW};
use crate::{
    error::{Error, Kind},
    redis::{Script, Value},
    session::record::{operation::Ended, session_record::millis},
};

impl SessionStore {
    /// One page of the ids in the index. For a revocation of all, also stores its time in the index, and returns it.
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

    /// Ends a session without its token. If `user` is given, only a session of this user; if `listed_at` is given, only
    /// one whose login was added to the index at that time.
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

    /// Ends sessions without their tokens. Returns how many there were; if `user` is given, only those of this user
    /// count.
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

/// Whether the index is read in order to revoke all sessions, and which session is kept then.
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

/// How many ids are read with one command.
pub(crate) const PAGE: usize = 1000;
/// How many commands run at the same time.
pub(crate) const AT_ONCE: usize = 32;
/// How long at least the index keeps the time of a revocation: no browser keeps a cookie for longer (RFC 6265bis §5.5).
/// If a session may live longer, the time is kept as long.
const REVOCATION_KNOWN: Duration = Duration::from_secs(400 * 24 * 60 * 60);
