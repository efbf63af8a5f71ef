//! Slots: where an entry is kept, and what was seen there.

use std::sync::Arc;

use bytes::Bytes;

use super::{
    decode::{Entry, MARK},
    key::Digest,
    tag::{Subject, Tag},
};

/// Where an entry is kept, and the digest that an entry there must have.
#[derive(Clone, Debug)]
pub(crate) struct Slot {
    pub(crate) kind: char,
    /// The tag of its group, by which a purge names it.
    pub(crate) group: Tag,
    /// The same for all variants of a resource: in a cluster they are on one node.
    pub(crate) resource: Digest,
    pub(crate) digest: Digest,
}

/// What was seen in a slot.
#[derive(Clone, Debug)]
pub(crate) struct Sight {
    pub(crate) entry: Option<Arc<Entry>>,
    /// The bytes from which the entry was read.
    pub(crate) blob: Bytes,
    pub(crate) seen: Seen,
}

/// What was seen in a slot: tells later whether it is still there.
#[derive(Clone, Debug)]
pub(crate) enum Seen {
    /// Nothing was there.
    Nothing,
    /// An entry or a lease with this prefix.
    Mark(Bytes),
    /// Data of another Redis type, to be overwritten.
    Foreign,
    /// It is not known what is there: nothing may be written.
    Unknown,
}

/// An entry in memory, and what identifies it in Redis.
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

    /// The tag that a purge of the resource names, whatever the form of its URI.
    pub(crate) fn group(&self) -> Tag {
        self.group
    }
}

impl Seen {
    /// Whether both are the same entry.
    pub(crate) fn is(&self, other: &Self) -> bool {
        matches!((self, other), (Self::Mark(one), Self::Mark(other)) if one == other)
    }

    pub(crate) fn mark(blob: &Bytes) -> Self {
        Self::Mark(Bytes::copy_from_slice(&blob[..blob.len().min(MARK)]))
    }
}
