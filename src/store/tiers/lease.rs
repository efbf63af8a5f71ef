//! Leases: they tell other processes that an entry is being made.

use bytes::Bytes;

use crate::{
    error::Error,
    store::{
        entry::{decode::MARK, encode::Writer, key::Digest},
        purge_log::random::token,
    },
};

/// Tells other processes that an entry is being made. Redis deletes it a second after it was taken or last extended.
#[derive(Clone, Debug)]
pub(crate) struct Lease {
    blob: Bytes,
    beside: bool,
}

/// What a leader puts in the place of its lease when it has nothing to store, so that those who waited for it do not wait
/// for another leader.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LeaseEnd {
    /// The load failed.
    Failed,
    /// What was made is not to be stored.
    Refused,
}

impl Lease {
    pub(crate) fn new(digest: &Digest) -> Result<Self, Error> {
        Ok(Self {
            blob: Writer::lease(&token()?, digest),
            beside: false,
        })
    }

    /// The same with a key of its own beside the slot, for making the entry in the slot anew.
    pub(crate) fn beside(mut self) -> Self {
        self.beside = true;
        self
    }

    pub(crate) fn is_beside(&self) -> bool {
        self.beside
    }

    pub(crate) fn blob(&self) -> &Bytes {
        &self.blob
    }
}

impl LeaseEnd {
    /// The bytes: those of a lease, with a fixed token in place of a random one.
    pub(crate) fn blob(self, digest: &Digest) -> Bytes {
        let token = match self {
            Self::Failed => b"failed\0\0",
            Self::Refused => b"refused\0",
        };
        Writer::lease(token, digest)
    }

    /// Which of them `blob` is, in any version; `None` if it is the lease of a leader.
    pub(crate) fn read(blob: &Bytes, digest: &Digest) -> Option<Self> {
        let content = blob.get(MARK..)?;
        let all = [Self::Failed, Self::Refused];
        all.into_iter()
            .find(|one| one.blob(digest)[MARK..] == *content)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::entry::key::resource;

    /// The end of a lease by a program of the version before looked like a lease that is held: callers waited for it.
    #[test]
    fn the_end_of_a_lease_is_known_in_both_versions() {
        let digest = resource("host", "/path", None);
        let recorded = include_str!("../entry/recorded/version_4.txt");
        let before = |name: &str| {
            let mut lines = recorded.lines().filter_map(|line| line.split_once(' '));
            let (_, digits) = lines.find(|(first, _)| *first == name).expect("a record");
            let byte = |at| u8::from_str_radix(&digits[at..at + 2], 16).expect("a byte");
            Bytes::from_iter((0..digits.len()).step_by(2).map(byte))
        };
        for (blob, end) in [
            (before("lease"), None),
            (before("failed"), Some(LeaseEnd::Failed)),
            (before("refused"), Some(LeaseEnd::Refused)),
            (Writer::lease(b"a token\0", &digest), None),
            (LeaseEnd::Failed.blob(&digest), Some(LeaseEnd::Failed)),
            (LeaseEnd::Refused.blob(&digest), Some(LeaseEnd::Refused)),
            (Bytes::new(), None),
        ] {
            assert_eq!(LeaseEnd::read(&blob, &digest), end);
            let other = resource("host", "/other", None);
            assert_eq!(LeaseEnd::read(&blob, &other), None);
        }
    }
}
