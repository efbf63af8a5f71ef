//! Places in the purge log.

/// A place in the purge log: the epoch of the log, how many records of it were known, and the token of the last one.
///
/// A failover may lose the last records of the log, and their counts are then given again. The token tells a record
/// from every other one that ever had its count.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Seq {
    pub(crate) epoch: u64,
    pub(crate) count: u64,
    pub(crate) token: Token,
}

/// Eight random bytes that tell a record of the purge log from every other one that ever had its id.
pub(crate) type Token = [u8; 8];

impl Seq {
    /// Whether this has a later epoch, or more records of the same one.
    pub(crate) fn is_ahead_of(&self, known: &Self) -> bool {
        (self.epoch, self.count) > (known.epoch, known.count)
    }
}
