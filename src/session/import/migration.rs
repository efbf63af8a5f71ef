//! Makes a session of this crate from an old one. One request makes it; other requests at that time get the same session.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use bytes::Bytes;
use serde_json::Value as Json;
use sha2::{Digest, Sha256};

use super::{legacy_record::parse, tower_sessions::TowerSessions};
use crate::{
    error::{Error, Kind},
    log_pace::{LogPace, uptime},
    redis::{Script, Value},
    session::{
        credential::{holder::Holder, token::Token},
        record::{
            bounds::encode,
            changes::Changes,
            index_entry::NewSession,
            login::{Login, OLDEST},
            session_record::millis,
        },
        store::session_store::SessionStore,
    },
};

/// The result for an old session that a browser names.
pub(crate) enum Migration {
    /// This request made a new session of it.
    Here(NewSession, Box<Changes>),
    /// Another request made the session shortly before.
    Elsewhere(Holder),
    /// All sessions of its user were revoked.
    Refused,
    /// There is no such session, or it was taken over earlier.
    Nothing,
}

impl SessionStore {
    /// A new session with the values of an old one.
    pub(crate) async fn take_over(
        &self,
        id: i128,
        from: &TowerSessions,
    ) -> Result<Migration, Error> {
        let name = name(id);
        let key = format!("{}{name}", from.prefix);
        let Some(bytes) = self.redis.get(&key).await? else {
            return Ok(Migration::Nothing);
        };
        let Some(values) = parse(&bytes, id) else {
            tracing::debug!(target: "tower_fred::session", "an old session is not one of tower-sessions");
            return Ok(Migration::Nothing);
        };
        let turn = Token::generate()?.id();
        let longest = self.redis.deadline() * 2;
        let began = Instant::now();
        loop {
            let claim: [Value; 3] = ["claim".into(), (&*turn).into(), self.turn_ms().into()];
            let words = self.note(&name, claim).await?;
            match words.first().map(|word| &**word) {
                Some(b"claimed") => return self.make(&name, &turn, &values, from).await,
                Some(b"over") => return Ok(self.made(&name, &words)),
                _ if began.elapsed() >= longest => {
                    let text = "another request is taking over the session";
                    return Err(Error::new(Kind::Unavailable, text));
                }
                _ => tokio::time::sleep(PAUSE).await,
            }
        }
    }

    /// Makes the new session; the caller has the turn.
    async fn make(
        &self,
        name: &str,
        turn: &str,
        values: &HashMap<String, Json>,
        from: &TowerSessions,
    ) -> Result<Migration, Error> {
        let mut changes = self.kept(values);
        let user = from.user_from.as_ref().and_then(|find| find(values));
        let begun = match &user {
            None => self.begin(&changes).await.map(|token| NewSession {
                token,
                remembered: None,
                reservation: None,
            }),
            Some(user) => {
                let login = Login {
                    revoked_at: OLDEST,
                    ..Login::of(user.as_str())
                };
                let login = login.check()?;
                changes.log_in(login.clone())?;
                changes.inherit_from(None);
                self.begin_for(&login, &changes, Instant::now()).await
            }
        };
        let begun = match begun {
            Ok(begun) => begun,
            Err(error) => return self.not_made(name, turn, error).await,
        };
        // Only after the session was made: otherwise the values would be lost if this future is dropped in between.
        let (id, lineage) = (begun.token.id(), begun.token.lineage());
        let settle: Vec<Value> = vec![
            "settle".into(),
            turn.into(),
            millis(NOTED).into(),
            millis(self.settings.grace).into(),
            (&*id).into(),
            lineage.clone().into(),
            user.as_deref().unwrap_or_default().into(),
            self.tag_of(name, &id, &lineage, user.as_deref()).into(),
        ];
        let words = self.note(name, settle).await?;
        if words.first().is_some_and(|word| *word == "settled") {
            return Ok(Migration::Here(begun, Box::new(changes)));
        }
        // It took too long, or a logout came first.
        self.revoke_all_of(std::slice::from_ref(&id), None).await?;
        if let Some(user) = user {
            self.unlist(&user, &[id]).await;
        }
        Ok(self.made(name, &words))
    }

    /// A refused login makes no session. After a revocation it is always refused; with too many sessions, only until
    /// there are fewer.
    async fn not_made(&self, name: &str, turn: &str, error: Error) -> Result<Migration, Error> {
        let may_be_full = self.settings.per_user.is_some_and(|limit| !limit.evicts);
        if error.is_forbidden() && !may_be_full {
            self.end_named(name).await?;
            return Ok(Migration::Refused);
        }
        let yielded: [Value; 2] = ["yield".into(), turn.into()];
        self.note(name, yielded).await?;
        if error.is_forbidden() {
            return Ok(Migration::Nothing);
        }
        Err(error)
    }

    /// The values that a session of this crate can hold.
    fn kept(&self, values: &HashMap<String, Json>) -> Changes {
        let mut changes = Changes::default();
        for (key, value) in values {
            match encode(&self.settings.codec, key, value) {
                Ok(value) => drop(changes.fields.insert(key.clone(), Some(value))),
                Err(error) => {
                    if let Some(omitted) = LEFT_OUT.admit(uptime()) {
                        tracing::warn!(target: "tower_fred::session", %error, omitted, "a value of an old session is left out");
                    }
                }
            }
        }
        changes
    }

    /// Ends the old session: it can no longer be taken over, and a session that was just made from it ends too.
    pub(crate) async fn end_old(&self, id: i128) -> Result<(), Error> {
        let name = name(id);
        let words = self.end_named(&name).await?;
        if let Migration::Elsewhere(holder) = self.made(&name, &words) {
            self.end(&holder).await?;
        }
        Ok(())
    }

    async fn end_named(&self, name: &str) -> Result<Vec<Bytes>, Error> {
        let end: [Value; 2] = ["end".into(), millis(NOTED).into()];
        self.note(name, end).await
    }

    /// What another request made of the old session, if it is known.
    fn made(&self, name: &str, words: &[Bytes]) -> Migration {
        let [_, id, lineage, user, tag] = words else {
            return Migration::Nothing;
        };
        let text = |bytes: &Bytes| String::from_utf8_lossy(bytes).into_owned();
        let (id, user) = (text(id), Some(text(user)).filter(|user| !user.is_empty()));
        let Some(token) = Token::without_secret(&id) else {
            return Migration::Nothing;
        };
        // With a pepper, somebody who can write to Redis must not be able to choose the session or the user.
        if self.tag_of(name, &id, lineage, user.as_deref()) != *tag {
            return Migration::Nothing;
        }
        Migration::Elsewhere(Holder {
            token,
            lineage: Bytes::copy_from_slice(lineage),
            user: user.map(Into::into),
        })
    }

    fn tag_of(&self, name: &str, id: &str, lineage: &[u8], user: Option<&str>) -> Bytes {
        let user = user.unwrap_or_default().as_bytes();
        let peppers = &self.settings.peppers;
        peppers.seal_note(&[name.as_bytes(), id.as_bytes(), lineage, user])
    }

    async fn note(
        &self,
        name: &str,
        args: impl IntoIterator<Item = Value>,
    ) -> Result<Vec<Bytes>, Error> {
        let digest = Sha256::digest(name.as_bytes());
        let note = URL_SAFE_NO_PAD.encode(&digest[..16]);
        let key = format!("{}:i:{{{note}}}", self.redis.namespace());
        let keys = [key.clone(), key + ":new"];
        self.redis.run_on(&IMPORT, &keys, args).await
    }

    /// How long one request has the turn, in milliseconds: time to read, to begin, and to log in.
    fn turn_ms(&self) -> i64 {
        millis(self.redis.deadline()).saturating_mul(6)
    }
}

fn name(id: i128) -> String {
    URL_SAFE_NO_PAD.encode(id.to_le_bytes())
}

static LEFT_OUT: LogPace = LogPace::new();
static IMPORT: Script = Script::new(include_str!("lua/import.lua"));

/// How long the note keeps that an old session was taken over. An old record that lives longer could be taken over again.
const NOTED: Duration = Duration::from_secs(400 * 24 * 60 * 60);
/// The pause between two checks while another request makes the session.
const PAUSE: Duration = Duration::from_millis(10);
