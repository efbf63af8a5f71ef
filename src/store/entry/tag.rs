//! The names by which purges take entries out of use.

use super::key::{Digest, KeyBuilder};

/// What an entry holds. Unsafe requests invalidate responses (RFC 9111 §4.4), never a memo's values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Subject {
    Response,
    Value,
}

/// The hash of a name by which entries are purged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Tag(pub(crate) u64);

impl Tag {
    /// The tag of a name that the application gives.
    pub(crate) fn named(name: &str) -> Self {
        Self::of(&KeyBuilder::new("tag").part(name.as_bytes()).finish())
    }

    /// The tag that each entry of a key's group has by itself.
    pub(crate) fn of_group(group: &Digest) -> Self {
        Self::of(group)
    }

    /// The bits of a digest are evenly distributed: a part of one is a hash too.
    fn of(digest: &Digest) -> Self {
        let mut part = [0; 8];
        part.copy_from_slice(&digest.as_bytes()[..8]);
        Self(u64::from_le_bytes(part))
    }
}
