//! The records of sessions in Redis. Each operation is one script, which first checks that the caller holds the session.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;

use super::session_store::SessionStore;
use crate::{
    error::{Error, Kind},
    redis::{Script, Value},
    session::{
        credential::{holder::Holder, token::Token},
        record::{
            changes::{Changes, Renewal},
            index_entry::IndexEntry,
            login::Login,
            operation::{Done, Ended, Op, Outcome},
            session_record::{millis, not_ours, number},
        },
    },
};

impl SessionStore {
    /// Begins a session with these values and without a user, under a random id that no session has.
    pub(crate) async fn begin(&self, changes: &Changes) -> Result<Token, Error> {
        for _ in 0..CREATE_ATTEMPTS {
            let token = Token::generate()?;
            let id = token.id();
            let mut pairs: Vec<Value> = Vec::new();
            let (mut count, mut bytes) = (0, 0);
            for (key, plain) in changes.sets() {
                let stored = self.settings.codec.close(&id, key, plain)?;
                count += 1;
                bytes += key.len() + stored.len();
                pairs.extend([key.into(), stored.into()]);
            }
            if count > self.settings.most_fields || bytes > self.settings.most_bytes {
                return Err(full());
            }
            let mut args: Vec<Value> = vec![
                self.settings.peppers.hashes(&token).first().into(),
                token.lineage().into(),
                millis(self.settings.idle).into(),
                millis(self.settings.absolute).into(),
                count_of(count),
                count_of(bytes),
            ];
            args.append(&mut pairs);
            let (word,): (String,) = self.redis.run(&CREATE, &self.key(&id), args).await?;
            if word == "done" {
                self.log("session begun", &id);
                return Ok(token);
            }
        }
        Err(Error::new(
            Kind::Corrupt,
            "every random session id was taken",
        ))
    }

    /// Writes if `holder` still holds the session, and replaces its token with `next` if there is one.
    pub(crate) async fn commit(
        &self,
        holder: &Holder,
        renewal: &Renewal,
        next: Option<&Token>,
        ops: Vec<Op<'_>>,
    ) -> Result<Outcome, Error> {
        let settings = &self.settings;
        let (kind, login) = match renewal {
            Renewal::Keep => ("", None),
            Renewal::Renew => ("renew", None),
            Renewal::Rotate => ("rotate", None),
            Renewal::Login(login) => ("login", Some(login)),
        };
        let mut args = self.guard(holder).to_vec();
        args.extend([
            millis(settings.idle).into(),
            next.map_or_else(
                || "".into(),
                |next| settings.peppers.hashes(next).first().into(),
            ),
            kind.into(),
            millis(TOMBSTONE).into(),
            millis(settings.grace).into(),
            next.map_or_else(|| "".into(), |next| next.lineage().into()),
        ]);
        args.extend(login_args(login, settings.remembered));
        let user = login.map_or(holder.user.as_deref(), |login| Some(&login.user));
        let next_tag = next.map(|next| settings.peppers.tag(next, user));
        args.extend([
            millis(settings.absolute).into(),
            count_of(settings.most_fields),
            count_of(settings.most_bytes),
            login.map_or(0, |login| login.listed_at).into(),
            settings
                .peppers
                .tag(&holder.token, holder.user.as_deref())
                .into(),
            next_tag.unwrap_or_default().into(),
        ]);
        for op in ops {
            args.extend(match op {
                Op::Expect(key, stored) => ["e".into(), key.into(), stored.into()],
                Op::Clear => ["c".into(), "".into(), "".into()],
                Op::Set(key, stored) => ["s".into(), key.into(), stored.into()],
                Op::Remove(key) => ["d".into(), key.into(), "".into()],
                Op::Add(key, number) => ["i".into(), key.into(), number.into()],
            });
        }
        let id = holder.token.id();
        let words: Vec<Bytes> = self.redis.run(&COMMIT, &self.key(&id), args).await?;
        let outcome = read_outcome(&words)?;
        if let Outcome::Done(done) = &outcome {
            if !kind.is_empty() {
                self.log(kind, &id);
            }
            self.check_index_later(holder, next, done);
        }
        Ok(outcome)
    }

    /// Deletes the session if `holder` still holds it.
    pub(crate) async fn end(&self, holder: &Holder) -> Result<Ended, Error> {
        let id = holder.token.id();
        let key = self.key(&id);
        let words: Vec<String> = self.redis.run(&END, &key, self.guard(holder)).await?;
        let [word, rest @ ..] = words.as_slice() else {
            return Err(not_ours());
        };
        match word.as_str() {
            "done" => {
                self.log("logout", &id);
                let user = rest.first().filter(|user| !user.is_empty()).cloned();
                if let Some(user) = &user {
                    self.unlist(user, &[id]).await;
                }
                Ok(Ended::Done(user))
            }
            "gone" => Ok(Ended::Gone),
            "stale" => Ok(Ended::Stale),
            "unknown" => Ok(Ended::Unknown),
            _ => Err(not_ours()),
        }
    }

    /// Notes that the session is in use. Failing is harmless: the next use tries again.
    pub(crate) async fn touch(&self, holder: &Holder) {
        self.note_use(holder, false).await;
    }

    /// As `touch`; if `index_was_checked`, also notes that the list of the session's user was checked.
    pub(crate) async fn note_use(&self, holder: &Holder, index_was_checked: bool) {
        let mut args = self.guard(holder).to_vec();
        args.extend([
            millis(self.settings.idle).into(),
            i64::from(index_was_checked).into(),
            self.settings
                .peppers
                .tag(&holder.token, holder.user.as_deref())
                .into(),
        ]);
        let key = self.key(&holder.token.id());
        let touched: Result<Vec<Bytes>, Error> = self.redis.run(&TOUCH, &key, args).await;
        if let Err(error) = touched {
            tracing::debug!(target: "tower_fred::session", %error, "session not extended");
        }
    }

    fn guard(&self, holder: &Holder) -> [Value; 2] {
        let hashes = self.settings.peppers.hashes(&holder.token);
        [hashes.all().into(), holder.lineage.clone().into()]
    }

    /// The id as hash tag, so that what belongs to the session shares its slot in a cluster.
    pub(crate) fn key(&self, id: &str) -> String {
        let namespace = self.redis.namespace();
        match &self.settings.realm {
            None => format!("{namespace}:s:{{{id}}}"),
            Some(realm) => format!("{namespace}:s.{realm}:{{{id}}}"),
        }
    }

    pub(crate) fn log(&self, event: &'static str, id: &str) {
        tracing::debug!(target: "tower_fred::session", sid_hash = %self.pseudonym(id), "{event}");
    }
}

fn login_args(login: Option<&Login>, remembered: Duration) -> [Value; 4] {
    match login {
        None => ["".into(), "".into(), "".into(), "".into()],
        Some(login) => [
            login.user.as_str().into(),
            login.label.as_str().into(),
            login.metadata.clone().into(),
            if login.remembered {
                millis(remembered).into()
            } else {
                "".into()
            },
        ],
    }
}

fn read_outcome(words: &[Bytes]) -> Result<Outcome, Error> {
    let word = |index: usize| words.get(index).cloned().unwrap_or_default();
    Ok(match &*word(0) {
        b"done" => Outcome::Done(Done {
            replaced: word(1) == "1",
            remembered: number(&word(2))
                .map(|left| Duration::from_millis(u64::try_from(left).unwrap_or(0))),
            user_before: Some(String::from_utf8_lossy(&word(3)).into_owned())
                .filter(|user| !user.is_empty()),
            lineage: Bytes::copy_from_slice(&word(4)),
            sum: Bytes::copy_from_slice(&word(5)),
            index_entry: number(&word(7)).map(|end| IndexEntry {
                user: String::from_utf8_lossy(&word(6)).into_owned(),
                end,
                listed_at: number(&word(8)).unwrap_or(0),
            }),
        }),
        b"gone" => Outcome::Gone,
        b"stale" => Outcome::Stale,
        b"unknown" => Outcome::Unknown,
        b"conflict" => Outcome::Conflict(Bytes::copy_from_slice(&word(1))),
        b"full" => Outcome::Full,
        b"nan" => Outcome::NotANumber,
        _ => return Err(not_ours()),
    })
}

pub(crate) fn full() -> Error {
    Error::new(
        Kind::Codec,
        "the session would have more fields or bytes than it may",
    )
}

fn count_of(count: usize) -> Value {
    i64::try_from(count).unwrap_or(i64::MAX).into()
}

pub(crate) fn unix_millis() -> i64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, millis)
}

static COMMIT: Script = Script::new(concat!(
    include_str!("lua/publish_end.lua"),
    include_str!("lua/guard.lua"),
    include_str!("lua/commit.lua")
));
static CREATE: Script = Script::new(include_str!("lua/create.lua"));
static END: Script = Script::new(concat!(
    include_str!("lua/publish_end.lua"),
    include_str!("lua/guard.lua"),
    include_str!("lua/end.lua")
));
static TOUCH: Script = Script::new(concat!(
    include_str!("lua/guard.lua"),
    include_str!("lua/touch.lua")
));

/// How long a replaced token is known as such, for requests that were sent before. Later, the token is unknown.
const TOMBSTONE: Duration = Duration::from_secs(60);
/// A second attempt needs a collision of 128 random bits; after a third one, the random number generator is broken.
const CREATE_ATTEMPTS: usize = 3;
