//! What a request knows of its session, and what it will tell the browser. No I/O.

use bytes::Bytes;

use super::{
    changes::{Changes, Renewal},
    record::Record,
    store::Outcome,
    token::Token,
};
use crate::error::{Error, Kind};

pub(super) struct State {
    origin: Origin,
    pub(super) changes: Changes,
    /// Sessions that a logout ended here and that are still to be ended in Redis.
    ending: Vec<Token>,
    /// Where the record's end of life is due to be moved to.
    extension: Option<i64>,
    cookie: Option<Cookie>,
    read: bool,
    sent: bool,
    /// Counts logouts, so that I/O begun before one does not bring the session back.
    logouts: u32,
}

/// The stored session behind this one.
enum Origin {
    /// What the cookies say, not asked about yet. No token: nobody's session.
    Unverified(Vec<Token>),
    /// A session that this request read or wrote.
    Verified(Token, Option<Record>),
    /// It ended, or its token was replaced: reads are empty, writes are refused.
    Interrupted,
    /// Redis did not answer and the layer goes on without: reads are empty, writes are dropped.
    Unreachable(Vec<Token>),
}

/// What the response does with the browser's cookie.
#[derive(Clone)]
pub(super) enum Cookie {
    Set(Token),
    Remove,
}

/// The tokens of a load or a write, and what was known when it began.
pub(super) struct Job {
    pub(super) tokens: Vec<Token>,
    /// A session was there earlier in this request: nothing is made in its place.
    pub(super) verified: bool,
    logouts: u32,
}

impl State {
    pub(super) fn new(tokens: Vec<Token>) -> Self {
        Self {
            origin: Origin::Unverified(tokens),
            changes: Changes::default(),
            ending: Vec::new(),
            extension: None,
            cookie: None,
            read: false,
            sent: false,
            logouts: 0,
        }
    }

    pub(super) fn id(&self) -> Option<String> {
        match &self.origin {
            Origin::Verified(token, _) => Some(token.id()),
            _ => None,
        }
    }

    pub(super) fn record(&self) -> Option<&Record> {
        match &self.origin {
            Origin::Verified(_, record) => record.as_ref(),
            _ => None,
        }
    }

    pub(super) fn field(&self, key: &str) -> Option<Bytes> {
        self.record()?.field(key).cloned()
    }

    pub(super) fn log_out(&mut self) {
        match std::mem::replace(&mut self.origin, Origin::Unverified(Vec::new())) {
            Origin::Unverified(tokens) | Origin::Unreachable(tokens) => self.ending.extend(tokens),
            Origin::Verified(token, _) => self.ending.push(token),
            // Still refused: a late request must not replace the cookie of a newer session.
            Origin::Interrupted => self.origin = Origin::Interrupted,
        }
        self.changes = Changes::default();
        self.extension = None;
        self.logouts = self.logouts.wrapping_add(1);
    }

    pub(super) fn is_sent(&self) -> bool {
        self.sent
    }

    /// What a read has to ask about, if anything is left to ask.
    pub(super) fn begin_load(&mut self) -> Option<Job> {
        self.read = true;
        let (tokens, verified) = match &self.origin {
            Origin::Unverified(tokens) if !tokens.is_empty() => (tokens.clone(), false),
            Origin::Verified(token, None) => (vec![token.clone()], true),
            _ => return None,
        };
        Some(self.job(tokens, verified))
    }

    pub(super) fn loaded(&mut self, job: &Job, token: &Token, record: Record, due: Option<i64>) {
        if job.logouts == self.logouts {
            self.origin = Origin::Verified(token.clone(), Some(record));
            self.extension = due;
        }
    }

    pub(super) fn not_found(&mut self, job: &Job, stale: bool) {
        if job.logouts == self.logouts {
            if stale || job.verified {
                self.interrupt();
            } else {
                self.origin = Origin::Unverified(Vec::new());
            }
        }
    }

    pub(super) fn unreachable(&mut self, job: &Job) {
        if job.logouts == self.logouts {
            self.origin = Origin::Unreachable(job.tokens.clone());
        }
    }

    pub(super) fn ending(&self) -> Vec<Token> {
        self.ending.clone()
    }

    /// Takes note of how the sessions in `ended` fared.
    pub(super) fn ended(&mut self, outcomes: &[Outcome]) {
        self.ending.drain(..outcomes.len());
        if outcomes.contains(&Outcome::Done) || outcomes.iter().all(|end| *end == Outcome::Gone) {
            self.cookie = Some(Cookie::Remove);
        } else if outcomes.contains(&Outcome::Stale) {
            self.interrupt();
        }
    }

    /// What is to be written, if anything is; refuses what cannot be.
    pub(super) fn begin_write(&mut self) -> Result<Option<(Job, Changes)>, Error> {
        if let Origin::Verified(_, Some(record)) = &self.origin {
            self.changes.prune(record);
        }
        if self.sent && self.changes.renewal != Renewal::Keep {
            self.changes.renewal = Renewal::Keep;
            return Err(too_late());
        }
        let (tokens, verified) = match &self.origin {
            _ if self.changes.is_empty() => return Ok(None),
            Origin::Unverified(tokens) => (tokens.clone(), false),
            Origin::Verified(token, _) => (vec![token.clone()], true),
            Origin::Interrupted => (Vec::new(), true),
            Origin::Unreachable(_) => {
                self.changes = Changes::default();
                return Err(Error::new(
                    Kind::Unavailable,
                    "redis did not answer when the session was read",
                ));
            }
        };
        Ok(Some((self.job(tokens, verified), self.changes.clone())))
    }

    /// The changes are in Redis, under `next` if the token was replaced.
    pub(super) fn committed(
        &mut self,
        job: &Job,
        token: &Token,
        next: Option<Token>,
        written: &Changes,
    ) {
        if job.logouts != self.logouts {
            self.ending.extend(next);
            return;
        }
        let record = match std::mem::replace(&mut self.origin, Origin::Interrupted) {
            Origin::Verified(_, record) => record,
            _ => None,
        };
        self.written(next.as_ref().unwrap_or(token).clone(), record, written);
        self.cookie = next.map(Cookie::Set).or(self.cookie.take());
    }

    /// The changes are in Redis, as a new session.
    pub(super) fn created(&mut self, job: &Job, token: Token, written: &Changes) {
        if job.logouts != self.logouts {
            self.ending.push(token);
            return;
        }
        let record = Record::new(token.id(), None);
        self.written(token.clone(), Some(record), written);
        self.cookie = Some(Cookie::Set(token));
    }

    fn written(&mut self, token: Token, mut record: Option<Record>, written: &Changes) {
        if let Some(record) = &mut record {
            record.apply(&written.fields);
            if let Some(user) = written.login() {
                record.log_in(user);
            }
        }
        self.origin = Origin::Verified(token, record);
        self.extension = None;
        self.changes.settle(written);
    }

    /// The session ended while this request ran: what it wanted to write is dropped.
    pub(super) fn interrupted(&mut self, job: &Job) {
        if job.logouts == self.logouts {
            self.interrupt();
            self.changes = Changes::default();
        }
    }

    fn interrupt(&mut self) {
        self.origin = Origin::Interrupted;
        // A token that this request got earlier is dead as well.
        if matches!(self.cookie, Some(Cookie::Set(_))) {
            self.cookie = None;
        }
    }

    /// The changes need no session, and there is none.
    pub(super) fn unneeded(&mut self, job: &Job, written: &Changes) {
        if job.logouts == self.logouts {
            self.origin = Origin::Unverified(Vec::new());
            self.changes.settle(written);
        }
    }

    /// The response leaves: nothing after this can reach the cookie.
    pub(super) fn send(&mut self) -> Sending {
        self.sent = true;
        let extension = self.extension.take();
        Sending {
            cookie: self.cookie.take(),
            read: self.read,
            logout_failed: !self.ending.is_empty(),
            extend: match &self.origin {
                Origin::Verified(token, _) => extension.map(|until| (token.clone(), until)),
                _ => None,
            },
        }
    }

    fn job(&self, tokens: Vec<Token>, verified: bool) -> Job {
        Job {
            tokens,
            verified,
            logouts: self.logouts,
        }
    }
}

/// What leaves with the response.
pub(super) struct Sending {
    pub(super) cookie: Option<Cookie>,
    /// The session was asked for, so the response may depend on the cookie.
    pub(super) read: bool,
    /// A session that was logged out is still there.
    pub(super) logout_failed: bool,
    pub(super) extend: Option<(Token, i64)>,
}

pub(super) fn too_late() -> Error {
    Error::new(
        Kind::TooLate,
        "the response headers left already: no session can begin or get a new token",
    )
}
