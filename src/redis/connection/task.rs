//! A background task of which there is one at a time.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

/// Whether the task runs. Clones tell of the same task.
#[derive(Clone, Debug, Default)]
pub(crate) struct Task(Arc<AtomicBool>);

/// The right to be that task. It ends when this is dropped, also when the runtime of the task is.
#[derive(Debug)]
pub(crate) struct Turn(Task);

impl Task {
    /// The right to run, unless somebody has it.
    pub(crate) fn begin(&self) -> Option<Turn> {
        let was_running = self.0.load(Ordering::Relaxed) || self.0.swap(true, Ordering::AcqRel);
        (!was_running).then(|| Turn(self.clone()))
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.0.0.store(false, Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_runs_at_a_time_and_the_next_when_its_turn_is_dropped() {
        let task = Task::default();
        let turn = task.begin().expect("the first turn");
        assert!(task.begin().is_none());
        drop(turn);
        assert!(task.clone().begin().is_some());
    }
}
