//! The records of the purge log.

use crate::store::entry::{
    log_position::{Seq, Token},
    tag::Tag,
};

/// What a record does to the entries that it names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    /// Nothing: the record begins an epoch.
    Begin,
    /// The entries must not be used again.
    Hard,
    /// The entries are stale from now on.
    Soft,
    /// The responses must not be used again: an unsafe request invalidated them (RFC 9111 §4.4).
    Invalidate,
}

/// A record of the purge log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PurgeRecord {
    pub(crate) epoch: u64,
    pub(crate) count: u64,
    pub(crate) order: Order,
    /// When it was written, in Unix milliseconds of the server.
    pub(crate) at_ms: u64,
}

/// What a purge names, and what happens to it; no tags stand for everything.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Order {
    pub(crate) mode: Mode,
    pub(crate) token: Token,
    pub(crate) tags: Vec<Tag>,
}

impl PurgeRecord {
    /// The place in the log after this record.
    pub(crate) fn seq(&self) -> Seq {
        Seq {
            epoch: self.epoch,
            count: self.count,
            token: self.order.token,
        }
    }
}

impl Order {
    /// The bytes: a letter for the mode, the token, and eight bytes for each tag.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mode = match self.mode {
            Mode::Begin => b'b',
            Mode::Hard => b'h',
            Mode::Soft => b's',
            Mode::Invalidate => b'o',
        };
        let tags = self.tags.iter().flat_map(|tag| tag.0.to_le_bytes());
        [mode].into_iter().chain(self.token).chain(tags).collect()
    }

    /// Reads the bytes. A record that cannot be read may be a newer program's: it purges everything, which is safe.
    pub(crate) fn decode(bytes: &[u8]) -> Self {
        let read = || {
            let (mode, rest) = bytes.split_first()?;
            let mode = match mode {
                b'b' => Mode::Begin,
                b'h' => Mode::Hard,
                b's' => Mode::Soft,
                b'o' => Mode::Invalidate,
                _ => return None,
            };
            let (token, tags) = rest.split_first_chunk()?;
            if tags.len() % 8 != 0 {
                return None;
            }
            let tags = tags.chunks_exact(8).filter_map(|tag| tag.try_into().ok());
            Some(Self {
                mode,
                token: *token,
                tags: tags.map(|tag| Tag(u64::from_le_bytes(tag))).collect(),
            })
        };
        read().unwrap_or(Self {
            mode: Mode::Hard,
            token: Token::default(),
            tags: Vec::new(),
        })
    }
}
