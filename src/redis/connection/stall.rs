//! For how long this process did nothing: what waited for its CPU is no sign of Redis.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, PoisonError, Weak},
    time::Duration,
};

use tokio::{
    runtime::Handle,
    time::{Instant, sleep_until},
};

use super::task::{Task, Turn};

/// When the runtime was late to run what was due, as a timer of this crate found out.
#[derive(Debug, Default)]
pub(crate) struct Stalls {
    timer: Task,
    seen: Mutex<Seen>,
}

#[derive(Debug, Default)]
struct Seen {
    /// When the timer is to run again; nothing while there is none.
    due: Option<Instant>,
    /// The last stalls, from when to when.
    past: VecDeque<(Instant, Instant)>,
}

impl Stalls {
    /// Runs the timer, unless it runs already or there is no runtime yet.
    pub(super) fn watch(self: &Arc<Self>) {
        if let Ok(runtime) = Handle::try_current() {
            if let Some(turn) = self.timer.begin() {
                runtime.spawn(tick(turn, Arc::downgrade(self)));
            }
        }
    }

    /// How much of the time from `begun` to `now` this process could run.
    pub(super) fn awake(&self, begun: Instant, now: Instant) -> Duration {
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.awake(begun, now)
    }
}

impl Seen {
    fn awake(&self, begun: Instant, now: Instant) -> Duration {
        let overdue = self.due.map(|due| (due, now));
        let stalled: Duration = self
            .past
            .iter()
            .copied()
            .chain(overdue)
            .map(|(from, to)| to.min(now).saturating_duration_since(from.max(begun)))
            .sum();
        now.saturating_duration_since(begun).saturating_sub(stalled)
    }

    /// Takes note that the timer ran, and gives when it is to run next.
    fn ran(&mut self, now: Instant) -> Instant {
        if let Some(due) = self.due.take() {
            if now.saturating_duration_since(due) > TOLERANCE {
                self.past.truncate(MOST - 1);
                self.past.push_front((due, now));
            }
        }
        let due = now + PERIOD;
        self.due = Some(due);
        due
    }
}

async fn tick(turn: Turn, stalls: Weak<Stalls>) {
    let _end = End(turn, stalls.clone());
    while let Some(stalls) = stalls.upgrade() {
        let due = {
            let mut seen = stalls.seen.lock().unwrap_or_else(PoisonError::into_inner);
            seen.ran(Instant::now())
        };
        drop(stalls);
        sleep_until(due).await;
    }
}

/// A timer that is gone is not late.
struct End(
    #[allow(dead_code, reason = "held until this is dropped")] Turn,
    Weak<Stalls>,
);

impl Drop for End {
    fn drop(&mut self) {
        if let Some(stalls) = self.1.upgrade() {
            let mut seen = stalls.seen.lock().unwrap_or_else(PoisonError::into_inner);
            seen.due = None;
        }
    }
}

const PERIOD: Duration = Duration::from_millis(20);
/// A busy machine is late by as much without being in anybody's way.
const TOLERANCE: Duration = Duration::from_millis(20);
/// Some seconds of a process that is never on time.
const MOST: usize = 256;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_stall_took_is_not_counted() {
        let begin = Instant::now();
        let at = |ms| begin + Duration::from_millis(ms);
        let ms = Duration::from_millis;
        let mut seen = Seen::default();
        assert_eq!(seen.awake(at(0), at(100)), ms(100), "without a timer");
        seen.ran(at(0));
        seen.ran(at(22));
        assert_eq!(seen.awake(at(0), at(30)), ms(30), "on time");
        // Due at 42.
        assert_eq!(seen.awake(at(0), at(142)), ms(42), "while it lasts");
        seen.ran(at(142));
        assert_eq!(seen.awake(at(0), at(150)), ms(50), "when it is over");
        assert_eq!(
            seen.awake(at(92), at(150)),
            ms(8),
            "what of it is in the time"
        );
        assert_eq!(seen.awake(at(145), at(150)), ms(5), "before it");
    }
}
