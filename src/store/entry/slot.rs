//! Where an entry is kept, and what was seen there.

use std::sync::Arc;

use bytes::Bytes;

use super::{
    decode::{Entry, MARK},
    key::Digest,
    tag::{Subject, Tag},
};

/// Where an entry is kept, and the digest that proves it is that one.
#[derive(Clone, Debug)]
pub(crate) struct Slot {
    pub(crate) kind: char,
    /// What a purge names it by.
    pub(crate) group: Tag,
    /// What all variants of a resource have in common.
    pub(crate) resource: Digest,
    pub(crate) digest: Digest,
}

/// What was seen in a slot.
#[derive(Debug)]
pub(crate) struct Sight {
    pub(crate) entry: Option<Entry>,
    /// What the entry was read from.
    pub(crate) blob: Bytes,
    pub(crate) seen: Seen,
}

/// By what it is known whether a slot still holds what was seen there.
#[derive(Clone, Debug)]
pub(crate) enum Seen {
    /// Nothing was there.
    Nothing,
    /// Something that begins like this.
    Mark(Bytes),
    /// Data of another type, which has to go.
    Foreign,
    /// It is not known what is there: nothing is to be written.
    Unknown,
}

/// An entry that is held by whoever reads it, and by what it is known in Redis.
#[derive(Clone, Debug)]
pub(crate) struct Held {
    pub(crate) entry: Arc<Entry>,
    pub(crate) seen: Seen,
}

impl Slot {
    pub(crate) fn digest(&self) -> &Digest {
        &self.digest
    }

    pub(crate) fn subject(&self) -> Subject {
        match self.kind {
            'm' => Subject::Value,
            _ => Subject::Response,
        }
    }

    /// What a purge of the whole resource names, in all forms of its URI.
    pub(crate) fn group(&self) -> Tag {
        self.group
    }
}

impl Seen {
    /// Whether both are of the same.
    pub(crate) fn is(&self, other: &Self) -> bool {
        matches!((self, other), (Self::Mark(one), Self::Mark(other)) if one == other)
    }

    pub(crate) fn mark(blob: &Bytes) -> Self {
        Self::Mark(Bytes::copy_from_slice(&blob[..blob.len().min(MARK)]))
    }
}
