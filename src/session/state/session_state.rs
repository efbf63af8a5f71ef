//! [`State`]: what a request knows of its session, and what its response will tell the browser.

use std::time::{Duration, Instant};

use bytes::Bytes;

use crate::{
    error::{Error, Kind},
    session::{
        cookie::change::CookieChange,
        credential::{holder::Holder, token::Token},
        record::{
            changes::{Changes, Renewal},
            index_entry::Reservation,
            session_record::{Due, Record},
        },
    },
};

pub(crate) struct State {
    pub(crate) origin: Origin,
    pub(crate) changes: Changes,
    /// Sessions of a logout that still have to be ended in Redis.
    pub(crate) ending: Vec<Holder>,
    /// Tokens of the browser for which no session was found. A logout looks them up again and, if their sessions have
    /// ended, removes the cookie.
    pub(crate) unopened: Vec<Holder>,
    /// A login or rotation replaced the token: the browser may have a newer cookie, which must not be removed.
    pub(crate) stale: bool,
    /// When a use was last noted, or seen to need no note.
    pub(crate) used_at: Option<Instant>,
    /// The work that is due after the last read.
    pub(crate) due: Due,
    pub(crate) cookie: Option<CookieChange>,
    /// When this request revoked other sessions of its user, by Redis's clock; 0 when it did not.
    pub(crate) revoked_at: i64,
    /// The reservation of a login that this request wrote, to be confirmed when the response leaves.
    pub(crate) reservation: Option<Reservation>,
    pub(crate) read: bool,
    pub(crate) sent: bool,
    /// Counts logouts, so that a load or write that began before one does not restore the session.
    pub(crate) logouts: u32,
}

/// The stored session, as far as this request knows it.
pub(crate) enum Origin {
    /// The tokens from the cookies, not looked up yet. Without tokens there is no session.
    Unverified(Vec<Token>),
    /// A session that this request read or wrote.
    Verified(Holder, Option<Box<Record>>),
    /// It ended, or its token was replaced: reads are empty, writes are refused.
    Interrupted,
    /// Redis did not answer, and the layer is `anonymous_on_failure`: reads are empty, writes are dropped.
    Unreachable(Vec<Token>),
}

/// The tokens of one load or write, and what was known when it began.
pub(crate) struct Job {
    pub(crate) holders: Vec<Holder>,
    /// This request has read or written the session before: if it has ended, no new one replaces it.
    pub(crate) verified: bool,
    pub(crate) logouts: u32,
}

impl State {
    pub(crate) fn new(tokens: Vec<Token>) -> Self {
        Self {
            origin: Origin::Unverified(tokens),
            changes: Changes::default(),
            ending: Vec::new(),
            unopened: Vec::new(),
            stale: false,
            used_at: None,
            due: Due::default(),
            cookie: None,
            revoked_at: 0,
            reservation: None,
            read: false,
            sent: false,
            logouts: 0,
        }
    }

    pub(crate) fn id(&self) -> Option<String> {
        match &self.origin {
            Origin::Verified(holder, _) => Some(holder.token.id()),
            _ => None,
        }
    }

    /// The session that this request read or wrote.
    pub(crate) fn holder(&self) -> Option<&Holder> {
        match &self.origin {
            Origin::Verified(holder, _) => Some(holder),
            _ => None,
        }
    }

    pub(crate) fn record_mut(&mut self) -> Option<&mut Record> {
        match &mut self.origin {
            Origin::Verified(_, record) => record.as_deref_mut(),
            _ => None,
        }
    }

    pub(crate) fn record(&self) -> Option<&Record> {
        match &self.origin {
            Origin::Verified(_, record) => record.as_deref(),
            _ => None,
        }
    }

    /// The value under `key` as far as it is known without a read: what this request changed.
    pub(crate) fn pending(&self, key: &str) -> Option<Option<Bytes>> {
        self.changes.fields.get(key).cloned()
    }

    /// The value under `key`, once the session was read.
    pub(crate) fn value(&mut self, key: &str) -> Result<Option<Bytes>, Error> {
        self.inherit();
        if let Some(pending) = self.pending(key) {
            return Ok(pending);
        }
        let record = self.record().filter(|_| !self.changes.drops_values);
        record.map_or(Ok(None), |record| record.plain(key))
    }

    /// Decides which values from before a buffered login are kept, once the session was read.
    pub(crate) fn inherit(&mut self) {
        match &self.origin {
            Origin::Interrupted => self.changes.inherit_nothing(),
            Origin::Verified(_, Some(record)) => self.changes.inherit_from(record.user()),
            _ => self.changes.inherit_from(None),
        }
    }

    pub(crate) fn is_sent(&self) -> bool {
        self.sent
    }

    /// Notes that the handler learns something about the session, so the response may depend on the cookie.
    pub(crate) fn note_read(&mut self) {
        self.read = true;
    }

    /// The tokens that a read has to look up, if any.
    pub(crate) fn begin_load(&mut self) -> Option<Job> {
        self.note_read();
        self.unread()
    }

    /// The same for a login, which must know the session before it is added to the index, and with a pepper also for a
    /// rotation, which binds the user to the new token.
    pub(crate) fn begin_login(&self, peppered: bool) -> Option<Job> {
        let reads = match &self.changes.renewal {
            Renewal::Login(_) => true,
            Renewal::Rotate => peppered,
            Renewal::Keep | Renewal::Renew => false,
        };
        reads.then(|| self.unread())?
    }

    pub(crate) fn unread(&self) -> Option<Job> {
        match &self.origin {
            Origin::Unverified(tokens) if !tokens.is_empty() => Some(self.job(tokens)),
            Origin::Verified(holder, None) => Some(self.job_of(holder)),
            _ => None,
        }
    }

    pub(crate) fn loaded(&mut self, job: &Job, token: &Token, record: Record, due: Due) {
        if job.logouts == self.logouts {
            let holder = Holder {
                token: token.clone(),
                lineage: record.lineage().clone(),
                user: record.user().map(Into::into),
            };
            self.origin = Origin::Verified(holder, Some(Box::new(record)));
            self.due = due;
        }
    }

    pub(crate) fn not_found(&mut self, job: &Job, stale: bool) {
        if job.logouts == self.logouts {
            self.stale |= stale;
            self.note_unopened(job);
            if stale || job.verified {
                self.interrupt();
            } else {
                self.origin = Origin::Unverified(Vec::new());
            }
        }
    }

    pub(crate) fn note_stale(&mut self) {
        self.stale = true;
    }

    pub(crate) fn note_unopened(&mut self, job: &Job) {
        if !job.holders.is_empty() {
            self.unopened.clone_from(&job.holders);
        }
    }

    pub(crate) fn unreachable(&mut self, job: &Job) {
        if job.logouts == self.logouts {
            let tokens = job.holders.iter().map(|holder| holder.token.clone());
            self.origin = Origin::Unreachable(tokens.collect());
        }
    }

    /// Asks for a new token when this one is old and the response can bring it.
    pub(crate) fn renew_if_due(&mut self) {
        let due = std::mem::take(&mut self.due.renewal);
        if due && !self.sent && self.changes.renewal == Renewal::Keep {
            self.changes.renewal = Renewal::Renew;
        }
    }

    /// The changes to write, if any; an error for changes that can no longer be written.
    pub(crate) fn begin_write(&mut self) -> Result<Option<(Job, Changes)>, Error> {
        self.inherit();
        if let Origin::Verified(_, Some(record)) = &self.origin {
            self.changes.prune(record);
        }
        if self.sent && self.changes.renewal != Renewal::Keep {
            self.changes.renewal = Renewal::Keep;
            return Err(too_late());
        }
        if self.changes.is_empty() {
            return Ok(None);
        }
        if matches!(self.origin, Origin::Unreachable(_)) {
            self.changes = Changes::default();
        }
        Ok(Some((self.target()?, self.changes.clone())))
    }

    /// The session to write to.
    pub(crate) fn target(&self) -> Result<Job, Error> {
        match &self.origin {
            Origin::Unverified(tokens) => Ok(self.job(tokens)),
            Origin::Verified(holder, _) => Ok(self.job_of(holder)),
            Origin::Interrupted => Ok(Job {
                holders: Vec::new(),
                verified: true,
                logouts: self.logouts,
            }),
            Origin::Unreachable(_) => Err(Error::new(
                Kind::Unavailable,
                "redis did not answer when the session was read",
            )),
        }
    }

    /// The session, if its response has left and its last use that was noted here is an interval ago.
    pub(crate) fn use_after_response(
        &mut self,
        now: Instant,
        interval: Duration,
    ) -> Option<Holder> {
        let is_recent = |at: Instant| now.saturating_duration_since(at) < interval;
        if !self.is_sent() || self.used_at.is_some_and(is_recent) {
            return None;
        }
        let holder = self.holder()?.clone();
        self.used_at = Some(now);
        Some(holder)
    }

    /// The response leaves. After this, the cookie can no longer change.
    pub(crate) fn send(&mut self) -> Sending {
        self.sent = true;
        let due = std::mem::take(&mut self.due);
        Sending {
            cookie: self.cookie.take(),
            read: self.read,
            logout_failed: !self.ending.is_empty(),
            touch: self.holder().filter(|_| due.touch).cloned(),
        }
    }

    fn job(&self, tokens: &[Token]) -> Job {
        Job {
            holders: tokens.iter().cloned().map(Holder::unproved).collect(),
            verified: false,
            logouts: self.logouts,
        }
    }

    fn job_of(&self, holder: &Holder) -> Job {
        Job {
            holders: vec![holder.clone()],
            verified: true,
            logouts: self.logouts,
        }
    }
}

/// What the response carries, and what follows it.
pub(crate) struct Sending {
    pub(crate) cookie: Option<CookieChange>,
    /// The handler read the session, so the response may depend on the cookie.
    pub(crate) read: bool,
    /// A session that was logged out could not be ended.
    pub(crate) logout_failed: bool,
    /// The session whose use has to be noted.
    pub(crate) touch: Option<Holder>,
}

pub(crate) fn too_late() -> Error {
    Error::new(
        Kind::TooLate,
        "the response headers left already: no session can begin or get a new token",
    )
}
