//! [`Changes`]: what a request will write to its session.

use std::collections::BTreeMap;

use bytes::Bytes;

use super::{codec::Codec, login::Login, session_record::Record};
use crate::{
    error::Error,
    session::{credential::token::Token, record::operation::Op},
};

/// Buffered changes: values to set or remove, and a new token.
#[derive(Clone, Default)]
pub(crate) struct Changes {
    /// By key, the new value; `None` removes.
    pub(crate) fields: BTreeMap<String, Option<Bytes>>,
    pub(crate) renewal: Renewal,
    /// A session has to begin even without values.
    pub(crate) begin: bool,
    /// The stored values are removed first, because they are another user's.
    pub(crate) drops_values: bool,
    /// Set by a buffered login, until the user of the session is known.
    inheritance: Option<Inheritance>,
}

/// Decides about the values from before a buffered login: the user of the first such login, whether it keeps the values
/// of another user, and the changes that were buffered before it.
#[derive(Clone)]
struct Inheritance {
    user: String,
    keeps_values: bool,
    before: BTreeMap<String, Option<Bytes>>,
}

/// Whether the token is replaced, and why.
#[derive(Clone, Default, PartialEq, Eq)]
pub(crate) enum Renewal {
    #[default]
    Keep,
    /// The token is old: a new token with the same rights.
    Renew,
    Rotate,
    Login(Login),
}

impl Changes {
    pub(crate) fn is_empty(&self) -> bool {
        self.fields.is_empty() && self.renewal == Renewal::Keep && !self.begin
    }

    /// Whether these changes are only a renewal by the layer itself: the handler need not know whether they fail.
    pub(crate) fn are_upkeep(&self) -> bool {
        self.fields.is_empty() && self.renewal == Renewal::Renew && !self.begin
    }

    /// The login among these changes.
    pub(crate) fn login(&self) -> Option<&Login> {
        match &self.renewal {
            Renewal::Login(login) => Some(login),
            Renewal::Keep | Renewal::Renew | Renewal::Rotate => None,
        }
    }

    pub(crate) fn log_in(&mut self, login: Login) -> Result<(), Error> {
        let login = login.check()?;
        match self.login().map(|pending| pending.user == login.user) {
            None => {
                self.inheritance = Some(Inheritance {
                    user: login.user.clone(),
                    keeps_values: login.keeps_values,
                    before: std::mem::take(&mut self.fields),
                });
            }
            // The buffered values were for the user before.
            Some(false) if !login.keeps_values => {
                self.inheritance = None;
                self.fields.clear();
                self.drops_values = true;
            }
            Some(_) => {}
        }
        self.renewal = Renewal::Login(login);
        Ok(())
    }

    /// Decides about the values from before a buffered login, now that the user of the session is known.
    pub(crate) fn inherit_from(&mut self, user: Option<&str>) {
        let Some(inheritance) = self.inheritance.take() else {
            return;
        };
        if !inheritance.keeps_values && user.is_some_and(|user| user != inheritance.user) {
            self.drops_values = true;
            return;
        }
        for (key, value) in inheritance.before {
            self.fields.entry(key).or_insert(value);
        }
    }

    /// The same when the session has ended, so that its user is unknown: nothing is kept.
    pub(crate) fn inherit_nothing(&mut self) {
        self.drops_values |= self.inheritance.take().is_some();
    }

    /// Notes that this request revoked the user's sessions, so that the revocation does not refuse its own buffered
    /// login.
    pub(crate) fn revoked_at(&mut self, unix_millis: i64) {
        if let Renewal::Login(login) = &mut self.renewal {
            login.revoked_at = unix_millis;
        }
    }

    /// The token that replaces `token`, if these changes replace it.
    pub(crate) fn next(&self, token: &Token) -> Result<Option<Token>, Error> {
        match self.renewal {
            Renewal::Keep => Ok(None),
            Renewal::Renew | Renewal::Rotate | Renewal::Login(_) => token.renewed().map(Some),
        }
    }

    /// Whether these changes begin a session if there is none.
    pub(crate) fn need_a_session(&self) -> bool {
        self.begin || self.login().is_some() || self.fields.values().any(Option::is_some)
    }

    /// The values to set.
    pub(crate) fn sets(&self) -> impl Iterator<Item = (&str, &Bytes)> {
        self.fields
            .iter()
            .filter_map(|(key, value)| Some((key.as_str(), value.as_ref()?)))
    }

    /// The steps that write the values to the session with this id.
    pub(crate) fn ops(&self, codec: &Codec, id: &str) -> Result<Vec<Op<'_>>, Error> {
        let mut ops = Vec::with_capacity(self.fields.len() + 1);
        if self.drops_values {
            ops.push(Op::Clear);
        }
        for (key, value) in &self.fields {
            ops.push(match value {
                Some(plain) => Op::Set(key, codec.close(id, key, plain)?),
                None => Op::Remove(key),
            });
        }
        Ok(ops)
    }

    /// Drops changes that would leave `record` as it is.
    pub(crate) fn prune(&mut self, record: &Record) {
        if self.drops_values {
            return;
        }
        self.fields
            .retain(|key, value| match (record.plain(key), value) {
                (Ok(stored), value) => stored.as_ref() != value.as_ref(),
                // A value that cannot be read may be overwritten.
                (Err(_), _) => true,
            });
    }

    /// Drops the changes that were written, and keeps those that came after.
    pub(crate) fn settle(&mut self, written: &Self) {
        self.fields
            .retain(|key, value| written.fields.get(key) != Some(value));
        if self.renewal == written.renewal {
            self.renewal = Renewal::Keep;
            self.drops_values = false;
        }
        self.begin &= !written.begin;
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
        Changes {
            fields,
            renewal,
            ..Changes::default()
        }
    }

    #[test]
    fn what_changes_nothing_is_not_written() {
        let mut record = Record::new("id".into(), Bytes::new(), Codec::default());
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
        assert_eq!(pending.login(), Some(&Login::of("y")));
        let mut same = written.clone();
        same.settle(&written);
        assert!(same.is_empty());
    }

    fn logged_in(logins: &[Login]) -> Changes {
        let mut pending = changes(&[("before", Some("1"))], Renewal::Keep);
        for (number, login) in logins.iter().enumerate() {
            pending.log_in(login.clone()).unwrap();
            let value = Some(Bytes::from_static(b"1"));
            pending.fields.insert(format!("after{number}"), value);
        }
        pending
    }

    /// The user's own values were another user's after a second login: `is_admin` was inherited.
    #[test]
    fn values_stay_with_nobody_and_the_same_user_and_go_with_another() {
        let keeping = || Login::of("b").keeping_values();
        let (a, b) = (Login::of("a"), Login::of("b"));
        let all = &["before", "after0"][..];
        for (logins, stored, kept, drops) in [
            (vec![b.clone()], None, all, false),
            (vec![b.clone()], Some("b"), all, false),
            (vec![b.clone()], Some("a"), &["after0"][..], true),
            (vec![keeping()], Some("a"), all, false),
            (
                vec![b.clone(), b.clone()],
                Some("a"),
                &["after0", "after1"],
                true,
            ),
            // Also when the other user's login was never written.
            (vec![a.clone(), b.clone()], None, &["after1"], true),
            (vec![a.clone(), b.clone()], Some("b"), &["after1"], true),
            (
                vec![a.clone(), keeping()],
                None,
                &["before", "after0", "after1"],
                false,
            ),
            // To keep what is the first login's keeps nothing of the one before that.
            (
                vec![a.clone(), keeping()],
                Some("c"),
                &["after0", "after1"],
                true,
            ),
        ] {
            let mut pending = logged_in(&logins);
            pending.inherit_from(stored);
            pending.inherit_from(Some("somebody else"));
            let mut expected = kept.to_vec();
            expected.sort_unstable();
            let left: Vec<&str> = pending.fields.keys().map(String::as_str).collect();
            assert_eq!(left, expected, "{logins:?} {stored:?}");
            assert_eq!(pending.drops_values, drops, "{logins:?} {stored:?}");
            let ops = pending.ops(&Codec::default(), "id").unwrap();
            assert_eq!(matches!(ops[0], Op::Clear), drops);
        }
        let mut pending = logged_in(&[b]);
        pending.inherit_nothing();
        let left: Vec<&str> = pending.fields.keys().map(String::as_str).collect();
        assert_eq!((left, pending.drops_values), (vec!["after0"], true));
        let written = pending.clone();
        pending.settle(&written);
        assert!(pending.is_empty() && !pending.drops_values);
    }

    #[test]
    fn removals_and_rotations_need_no_session() {
        assert!(!changes(&[("a", None)], Renewal::Rotate).need_a_session());
        assert!(changes(&[("a", Some("1"))], Renewal::Keep).need_a_session());
        assert!(changes(&[], Renewal::Login("x".into())).need_a_session());
    }
}
