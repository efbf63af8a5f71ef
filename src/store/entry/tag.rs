//! The names by which purges take entries out of use.

use super::key::{Digest, KeyBuilder};

/// What an entry is of. Unsafe requests make responses outdated, and never values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Subject {
    Response,
    Value,
}

/// A name that purges use, hashed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Tag(pub(crate) u64);

impl Tag {
    /// A name that the application gives.
    pub(crate) fn named(name: &str) -> Self {
        Self::of(&KeyBuilder::new("tag").part(name.as_bytes()).finish())
    }

    /// The tag that each entry under a key has without being given it.
    pub(crate) fn of_group(group: &Digest) -> Self {
        Self::of(group)
    }

    /// Digests are even: a part of one is as good as another hash.
    fn of(digest: &Digest) -> Self {
        let mut part = [0; 8];
        part.copy_from_slice(&digest.as_bytes()[..8]);
        Self(u64::from_le_bytes(part))
    }
}
