//! Places in the purge log.

/// A place in the purge log: the log that it is, how many records of it were known, and the token of the last of them.
///
/// A failover may lose the last records of the log, whose counts are then given again. The token tells a record from
/// every other one that ever had its count.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Seq {
    pub(crate) epoch: u64,
    pub(crate) count: u64,
    pub(crate) token: Token,
}

/// What tells a record of the purge log from every other that ever had its id.
pub(crate) type Token = [u8; 8];

impl Seq {
    /// Whether this is of a later epoch, or of more records of the same.
    pub(crate) fn is_ahead_of(&self, known: &Self) -> bool {
        (self.epoch, self.count) > (known.epoch, known.count)
    }
}
