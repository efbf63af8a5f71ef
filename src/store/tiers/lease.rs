//! Leases: they tell other processes that an entry is being made.

use bytes::Bytes;

use crate::{
    error::Error,
    store::{
        entry::{encode::Writer, key::Digest},
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

    /// Which of them `blob` is; `None` if it is the lease of a leader.
    pub(crate) fn read(blob: &Bytes, digest: &Digest) -> Option<Self> {
        let all = [Self::Failed, Self::Refused];
        all.into_iter().find(|one| one.blob(digest) == *blob)
    }
}
