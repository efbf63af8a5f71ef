//! What a request wants to change in its session, until it is written.

use std::collections::BTreeMap;

use bytes::Bytes;

use super::{
    record::{MAX_USER, Record},
    token::Token,
};
use crate::error::{Error, Kind};

/// Buffered changes: values to set or remove, and a new token.
#[derive(Clone, Default)]
pub(super) struct Changes {
    /// By key, the new value; `None` removes.
    pub(super) fields: BTreeMap<String, Option<Bytes>>,
    pub(super) renewal: Renewal,
}

/// Whether the token is replaced, and why.
#[derive(Clone, Default, PartialEq, Eq)]
pub(super) enum Renewal {
    #[default]
    Keep,
    Rotate,
    Login(String),
}

impl Changes {
    pub(super) fn is_empty(&self) -> bool {
        self.fields.is_empty() && self.renewal == Renewal::Keep
    }

    /// The user who logs in with these changes.
    pub(super) fn login(&self) -> Option<&str> {
        match &self.renewal {
            Renewal::Login(user) => Some(user),
            Renewal::Keep | Renewal::Rotate => None,
        }
    }

    pub(super) fn log_in(&mut self, user: String) -> Result<(), Error> {
        if user.is_empty() || user.len() > MAX_USER {
            return Err(Error::new(
                Kind::Codec,
                format!("a user of a session must have 1 to {MAX_USER} bytes"),
            ));
        }
        self.renewal = Renewal::Login(user);
        Ok(())
    }

    /// The token that these changes put in the place of `token`, if they do.
    pub(super) fn next(&self, token: &Token) -> Result<Option<Token>, Error> {
        match self.renewal {
            Renewal::Keep => Ok(None),
            Renewal::Rotate | Renewal::Login(_) => token.renewed().map(Some),
        }
    }

    /// Whether these changes are worth a session where there is none.
    pub(super) fn need_a_session(&self) -> bool {
        self.login().is_some() || self.fields.values().any(Option::is_some)
    }

    /// The values to set.
    pub(super) fn sets(&self) -> impl Iterator<Item = (&str, &Bytes)> {
        self.fields
            .iter()
            .filter_map(|(key, value)| Some((key.as_str(), value.as_ref()?)))
    }

    /// The keys to remove.
    pub(super) fn removals(&self) -> impl Iterator<Item = &str> {
        self.fields
            .iter()
            .filter(|(_, value)| value.is_none())
            .map(|(key, _)| key.as_str())
    }

    /// Leaves out what would change nothing in `record`.
    pub(super) fn prune(&mut self, record: &Record) {
        self.fields
            .retain(|key, value| record.field(key) != value.as_ref());
    }

    /// Leaves out what was written, and keeps what came after.
    pub(super) fn settle(&mut self, written: &Self) {
        self.fields
            .retain(|key, value| written.fields.get(key) != Some(value));
        if self.renewal == written.renewal {
            self.renewal = Renewal::Keep;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn changes(fields: &[(&str, Option<&'static str>)], renewal: Renewal) -> Changes {
        let fields = fields
            .iter()
            .map(|(key, value)| ((*key).to_owned(), value.map(Bytes::from)))
            .collect();
        Changes { fields, renewal }
    }

    #[test]
    fn what_changes_nothing_is_not_written() {
        let mut record = Record::new("id".into(), None);
        record.apply(&changes(&[("same", Some("1")), ("other", Some("1"))], Renewal::Keep).fields);
        let mut pending = changes(
            &[
                ("same", Some("1")),
                ("other", Some("2")),
                ("absent", None),
                ("new", Some("1")),
            ],
            Renewal::Keep,
        );
        pending.prune(&record);
        let left: Vec<&str> = pending.fields.keys().map(String::as_str).collect();
        assert_eq!(left, ["new", "other"]);
    }

    #[test]
    fn what_came_while_writing_stays_pending() {
        let written = changes(
            &[("a", Some("1")), ("b", Some("1"))],
            Renewal::Login("x".into()),
        );
        let mut pending = changes(
            &[("a", Some("1")), ("b", Some("2")), ("c", None)],
            Renewal::Login("y".into()),
        );
        pending.settle(&written);
        let left: Vec<&str> = pending.fields.keys().map(String::as_str).collect();
        assert_eq!(left, ["b", "c"]);
        assert_eq!(pending.login(), Some("y"));
        let mut same = written.clone();
        same.settle(&written);
        assert!(same.is_empty());
    }

    #[test]
    fn removals_and_rotations_need_no_session() {
        assert!(!changes(&[("a", None)], Renewal::Rotate).need_a_session());
        assert!(changes(&[("a", Some("1"))], Renewal::Keep).need_a_session());
        assert!(changes(&[], Renewal::Login("x".into())).need_a_session());
    }
}
