//! What a request knows after a write was done or refused.

use std::time::Duration;

use bytes::Bytes;

use super::session_state::{Job, Origin, State};
use crate::session::{
    cookie::change::CookieChange,
    credential::{holder::Holder, token::Token},
    record::{
        changes::Changes,
        operation::Done,
        session_record::{Due, Record},
    },
};

impl State {
    pub(crate) fn buffer(&mut self, key: &str, plain: Bytes) {
        self.changes.fields.insert(key.to_owned(), Some(plain));
    }

    /// A value was written without being buffered.
    pub(crate) fn note(&mut self, key: &str, plain: Bytes) {
        if let Some(record) = self.record_mut() {
            record.apply(&[(key.to_owned(), Some(plain))].into());
        }
    }

    /// Another request wrote this value.
    pub(crate) fn found(&mut self, key: &str, stored: Bytes) {
        if let Some(record) = self.record_mut() {
            record.found(key, stored);
        }
    }

    /// A write besides the buffered changes was done.
    pub(crate) fn wrote(&mut self, job: &Job, holder: &Holder, done: &Done) {
        if job.logouts == self.logouts && !matches!(self.origin, Origin::Verified(..)) {
            let holder = Holder {
                lineage: done.lineage.clone(),
                ..holder.clone()
            };
            self.origin = Origin::Verified(holder, None);
        }
    }

    /// The changes were written, with the token `next` if it was replaced.
    pub(crate) fn committed(
        &mut self,
        job: &Job,
        token: &Token,
        next: Option<Token>,
        done: Done,
        written: &Changes,
        now: i64,
    ) {
        let next = next.filter(|_| done.replaced);
        if job.logouts != self.logouts {
            self.ending.extend(next.map(Holder::unproved));
            return;
        }
        let record = match std::mem::replace(&mut self.origin, Origin::Interrupted) {
            Origin::Verified(_, record) => record,
            _ => None,
        };
        let known = job.holders.iter().find_map(|holder| holder.user.clone());
        let holder = Holder {
            token: next.as_ref().unwrap_or(token).clone(),
            lineage: done.lineage,
            user: written
                .login()
                .map_or(known, |login| Some((*login.user).into())),
        };
        self.written(holder, record, written, now);
        if let Some(next) = next {
            self.cookie = Some(CookieChange::Set(next, done.remembered));
        }
    }

    /// Another request made the session; its response carries the token.
    #[cfg(feature = "tower-sessions-import")]
    pub(crate) fn adopted(&mut self, job: &Job, holder: Holder) {
        if job.logouts == self.logouts {
            self.origin = Origin::Verified(holder, None);
        }
    }

    /// The changes were written, as a new session.
    pub(crate) fn created(
        &mut self,
        job: &Job,
        token: Token,
        mut record: Record,
        remembered: Option<Duration>,
        written: &Changes,
        now: i64,
    ) {
        let holder = Holder {
            user: written.login().map(|login| (*login.user).into()),
            ..Holder::made(token.clone())
        };
        if job.logouts != self.logouts {
            self.ending.push(holder);
            return;
        }
        record.set_lineage(holder.lineage.clone());
        self.written(holder, Some(Box::new(record)), written, now);
        self.cookie = Some(CookieChange::Set(token, remembered));
    }

    fn written(
        &mut self,
        holder: Holder,
        mut record: Option<Box<Record>>,
        written: &Changes,
        now: i64,
    ) {
        if let Some(record) = &mut record {
            if written.drops_values {
                record.clear();
            }
            record.apply(&written.fields);
            record.set_lineage(holder.lineage.clone());
            if let Some(login) = written.login() {
                record.log_in(login, now);
            }
        }
        self.origin = Origin::Verified(holder, record);
        self.unopened.clear();
        self.due = Due::default();
        self.changes.settle(written);
    }

    /// The session ended while this request ran: its changes are dropped.
    pub(crate) fn interrupted(&mut self, job: &Job) {
        if job.logouts == self.logouts {
            self.note_unopened(job);
            self.interrupt();
            self.changes = Changes::default();
        }
    }

    pub(crate) fn interrupt(&mut self) {
        self.origin = Origin::Interrupted;
        // A token that this request got earlier is no longer valid either.
        if matches!(self.cookie, Some(CookieChange::Set(..))) {
            self.cookie = None;
        }
    }

    /// The changes need no session, and there is none.
    pub(crate) fn unneeded(&mut self, job: &Job, written: &Changes) {
        if job.logouts == self.logouts {
            self.origin = Origin::Unverified(Vec::new());
            self.note_unopened(job);
            self.changes.settle(written);
        }
    }
}
