//! The state of a flight, and what it means for its members.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use super::heartbeat::Heartbeat;
use crate::store::entry::{
    log_position::Seq,
    slot::{Held, Seen},
};

/// The state of a flight. Its members are notified of a result, of a failure, and when the leader leaves.
#[derive(Default)]
pub(crate) struct FlightState {
    pub(crate) leader: Option<Leader>,
    /// What a leader found or made, for all members.
    pub(crate) result: Option<Outcome>,
    /// A load failed, after its leader had seen this in the slot: each member that waits loads for itself.
    pub(crate) failure: Option<Seen>,
    /// How many leaders were replaced because they gave no heartbeat.
    pub(crate) replaced: u32,
}

/// The member that loads.
pub(crate) struct Leader {
    heartbeat: Arc<Heartbeat>,
    /// The place in the purge log that it knew when it took the lead, and when that was.
    seq: Seq,
    since: Instant,
}

/// What a leader found or made.
#[derive(Clone, Debug)]
pub(crate) struct Outcome {
    pub(crate) held: Held,
    /// When the leader began to make it or to look for it.
    pub(crate) began: Instant,
}

/// What a member that waits does next.
pub(crate) enum Step {
    Follow(Outcome),
    Fail(Seen),
    Lead,
    /// Wait for a notification, for this long at most.
    Wait(Duration),
    /// Join another flight.
    Leave,
}

impl FlightState {
    /// Whether no caller may join the flight any more.
    pub(crate) fn is_closed(
        &self,
        is_late: impl Fn(Seq, Instant) -> bool,
        usable: impl Fn(&Outcome) -> bool,
    ) -> bool {
        match &self.leader {
            Some(leader) => is_late(leader.seq, leader.since),
            None => self.result.as_ref().is_some_and(|found| !usable(found)),
        }
    }

    pub(crate) fn step(&self, usable: impl Fn(&Outcome) -> bool) -> Step {
        let found = self.result.as_ref().filter(|found| usable(found));
        match (found, &self.failure, &self.leader) {
            (Some(found), _, _) => Step::Follow(found.clone()),
            (None, Some(seen), _) => Step::Fail(seen.clone()),
            (None, None, None) if self.result.is_some() => Step::Leave,
            (None, None, None) => Step::Lead,
            (None, None, Some(leader)) => match leader.heartbeat.patience() {
                Duration::ZERO => Step::Lead,
                patience => Step::Wait(patience),
            },
        }
    }

    /// Takes the lead, unless a leader with a recent heartbeat has it.
    pub(crate) fn lead(&mut self, seq: Seq) -> Option<Arc<Heartbeat>> {
        match &self.leader {
            Some(leader) if !leader.heartbeat.is_silent() => return None,
            Some(_) => self.replaced += 1,
            None if self.result.is_some() || self.failure.is_some() => return None,
            None => {}
        }
        let heartbeat = Arc::new(Heartbeat::new());
        self.leader = Some(Leader {
            heartbeat: Arc::clone(&heartbeat),
            seq,
            since: Instant::now(),
        });
        Some(heartbeat)
    }

    /// Whether the member with this heartbeat leads: it may have been replaced.
    pub(crate) fn is_led_by(&self, heartbeat: &Arc<Heartbeat>) -> bool {
        let leader = self.leader.as_ref();
        leader.is_some_and(|leader| Arc::ptr_eq(&leader.heartbeat, heartbeat))
    }
}
