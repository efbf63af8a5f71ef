//! Logout: which sessions it ends, and what becomes of the cookie.

use super::session_state::{Origin, State};
use crate::session::{
    cookie::change::CookieChange,
    credential::holder::Holder,
    record::{changes::Changes, operation::Ended, session_record::Due},
};

impl State {
    pub(crate) fn log_out(&mut self) {
        match std::mem::replace(&mut self.origin, Origin::Unverified(Vec::new())) {
            Origin::Unverified(tokens) | Origin::Unreachable(tokens) => {
                self.ending.extend(tokens.into_iter().map(Holder::unproved));
            }
            Origin::Verified(holder, _) => self.ending.push(holder),
            // Stays so: a late request must not replace the cookie of a newer session.
            Origin::Interrupted => self.origin = Origin::Interrupted,
        }
        let unopened = std::mem::take(&mut self.unopened);
        if !self.stale {
            self.ending.extend(unopened);
        }
        self.changes = Changes::default();
        self.due = Due::default();
        self.logouts = self.logouts.wrapping_add(1);
    }

    pub(crate) fn ending(&self) -> Vec<Holder> {
        self.ending.clone()
    }

    /// Notes the outcomes for the first of the sessions in `ending`.
    pub(crate) fn ended(&mut self, outcomes: &[Ended]) {
        self.ending.drain(..outcomes.len());
        let done = |end: &Ended| matches!(end, Ended::Done(_));
        if outcomes.iter().any(done) || outcomes.iter().all(|end| *end == Ended::Gone) {
            self.cookie = Some(CookieChange::Remove);
        } else if outcomes.contains(&Ended::Stale) {
            self.interrupt();
        }
    }
}
