//! Leases: what tells other processes that an entry is being made.

use bytes::Bytes;

use crate::{
    error::Error,
    store::{
        entry::{encode::Writer, key::Digest},
        purge_log::random::token,
    },
};

/// What tells other processes that an entry is being made. Redis deletes it a second after its owner's last sign of life.
#[derive(Clone, Debug)]
pub(crate) struct Lease {
    blob: Bytes,
    beside: bool,
}

/// What a leader leaves in the place of its lease when it has nothing to store, so that nobody who waited for it waits for
/// another one.
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

    /// One that is kept beside the slot, for making anew what is in it.
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
    /// What is written: a lease with a token that no leader draws.
    pub(crate) fn blob(self, digest: &Digest) -> Bytes {
        let token = match self {
            Self::Failed => b"failed\0\0",
            Self::Refused => b"refused\0",
        };
        Writer::lease(token, digest)
    }

    /// What `blob` is, if it is not somebody's lease.
    pub(crate) fn read(blob: &Bytes, digest: &Digest) -> Option<Self> {
        let all = [Self::Failed, Self::Refused];
        all.into_iter().find(|one| one.blob(digest) == *blob)
    }
}
