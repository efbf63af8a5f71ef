//! Which questions wait, and which of them leave together. It knows no clock and no task: the time is an argument.

use std::collections::HashMap;

use tokio::time::Instant;

/// Questions of one kind. Those of one lane may leave together: in a cluster a lane is a slot.
#[derive(Debug)]
pub(crate) struct Queue<Q> {
    lanes: HashMap<u16, Lane<Q>>,
    next: u64,
}

#[derive(Debug)]
struct Lane<Q> {
    /// The commands on their way, by number, and when each has failed at the latest.
    running: Vec<(u64, Instant)>,
    waiting: Vec<Q>,
    /// The number of the first of those that wait.
    first: u64,
    /// When the command of those that wait fails at the latest.
    until: Instant,
}

/// What a question has to do.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Entry {
    /// Leave now, alone. [`Queue::leave`] takes this number when it is answered.
    Alone(u64),
    /// Wait. The first of those that wait sees to it that they leave at some time: [`Queue::push_out`] takes the number.
    First(u64),
    Wait,
}

/// Questions that leave together, and the number of their command.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Batch<Q> {
    pub(crate) number: u64,
    pub(crate) questions: Vec<Q>,
}

impl<Q> Default for Queue<Q> {
    fn default() -> Self {
        Self {
            lanes: HashMap::new(),
            next: 0,
        }
    }
}

impl<Q> Queue<Q> {
    /// Takes a question, whose command would fail at `until`. `question` is only made if it has to wait.
    pub(crate) fn enter(
        &mut self,
        lane: u16,
        now: Instant,
        until: Instant,
        question: impl FnOnce() -> Q,
    ) -> Entry {
        self.next += 1;
        let number = self.next;
        let lane = self.lanes.entry(lane).or_insert_with(|| Lane {
            running: Vec::new(),
            waiting: Vec::new(),
            first: 0,
            until,
        });
        if lane.waiting.is_empty() && lane.is_free(now) {
            lane.running.push((number, until));
            return Entry::Alone(number);
        }
        lane.waiting.push(question());
        if lane.waiting.len() == 1 {
            (lane.first, lane.until) = (number, until);
            return Entry::First(number);
        }
        lane.until = lane.until.max(until);
        Entry::Wait
    }

    /// The questions that leave at once after one had to wait: if as many wait as one command may have, or if none is on
    /// its way any more.
    pub(crate) fn overflow(&mut self, lane: u16, now: Instant, most: usize) -> Option<Batch<Q>> {
        let found = self.lanes.get_mut(&lane)?;
        if found.waiting.len() < most && !found.is_free(now) {
            return None;
        }
        self.send_beside(lane, now, most, MOST_RUNNING)
    }

    /// The questions that leave since they have waited long enough: if `first`, as [`Entry::First`] gave it, still waits, and
    /// fewer than `running` commands are on their way.
    pub(crate) fn push_out(
        &mut self,
        lane: u16,
        first: u64,
        now: Instant,
        most: usize,
        running: usize,
    ) -> Option<Batch<Q>> {
        let found = self.lanes.get(&lane)?;
        if found.waiting.is_empty() || found.first != first {
            return None;
        }
        self.send_beside(lane, now, most, running)
    }

    fn send_beside(
        &mut self,
        lane: u16,
        now: Instant,
        most: usize,
        running: usize,
    ) -> Option<Batch<Q>> {
        self.next += 1;
        let number = self.next;
        let lane = self.lanes.get_mut(&lane)?;
        lane.forget_lost(now);
        if lane.waiting.is_empty() || lane.running.len() >= running {
            return None;
        }
        lane.running.push((number, lane.until));
        Some(lane.take(number, most))
    }

    /// A command has ended. Gives the questions that leave next: their command has the same number.
    pub(crate) fn leave(&mut self, lane: u16, number: u64, most: usize) -> Option<Batch<Q>> {
        let found = self.lanes.get_mut(&lane)?;
        found.running.retain(|(other, _)| *other != number);
        if !found.waiting.is_empty() {
            found.running.push((number, found.until));
            return Some(found.take(number, most));
        }
        if found.running.is_empty() && lane != 0 {
            // A cluster has 16,384 lanes; one server has one, which is kept.
            self.lanes.remove(&lane);
        }
        None
    }
}

impl<Q> Lane<Q> {
    fn is_free(&mut self, now: Instant) -> bool {
        if !self.running.is_empty() {
            self.forget_lost(now);
        }
        self.running.is_empty()
    }

    /// Forgets commands whose caller never said that they ended: its runtime may have been stopped.
    fn forget_lost(&mut self, now: Instant) {
        self.running.retain(|(_, until)| *until > now);
    }

    fn take(&mut self, number: u64, most: usize) -> Batch<Q> {
        let count = self.waiting.len().min(most.max(1));
        let rest = self.waiting.split_off(count);
        Batch {
            number,
            questions: std::mem::replace(&mut self.waiting, rest),
        }
    }
}

/// How many commands of one lane are on their way at once. Where answers take long, one leaves each millisecond or so: with
/// fewer, questions would wait for the answers to others.
pub(crate) const MOST_RUNNING: usize = 256;

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const LANE: u16 = 0;
    const MOST: usize = 3;

    struct Test {
        queue: Queue<u32>,
        now: Instant,
    }

    impl Test {
        fn new() -> Self {
            Self {
                queue: Queue::default(),
                now: Instant::now(),
            }
        }

        fn enter(&mut self, question: u32) -> Entry {
            let until = self.now + Duration::from_millis(250);
            self.queue.enter(LANE, self.now, until, || question)
        }

        fn overflow(&mut self) -> Option<Batch<u32>> {
            self.queue.overflow(LANE, self.now, MOST)
        }
    }

    fn questions(batch: Option<Batch<u32>>) -> Vec<u32> {
        batch.map(|batch| batch.questions).unwrap_or_default()
    }

    #[test]
    fn the_first_leaves_at_once_and_the_others_together_when_it_is_answered() {
        let mut test = Test::new();
        let Entry::Alone(alone) = test.enter(1) else {
            panic!("nothing is on its way");
        };
        assert!(matches!(test.enter(2), Entry::First(_)));
        assert_eq!(test.overflow(), None);
        assert_eq!(test.enter(3), Entry::Wait);
        assert_eq!(test.overflow(), None);
        let batch = test.queue.leave(LANE, alone, MOST).expect("two wait");
        assert_eq!(batch.questions, [2, 3]);
        assert!(
            matches!(test.enter(4), Entry::First(_)),
            "that is on its way"
        );
        let rest = test
            .queue
            .leave(LANE, batch.number, MOST)
            .expect("one waits");
        assert_eq!(rest.questions, [4]);
        assert_eq!(test.queue.leave(LANE, rest.number, MOST), None);
        assert!(matches!(test.enter(5), Entry::Alone(_)));
    }

    #[test]
    fn as_many_as_one_command_may_have_leave_beside_the_one_on_its_way() {
        let mut test = Test::new();
        test.enter(0);
        let mut left = Vec::new();
        for question in 1..=1000 {
            test.enter(question);
            left.extend(test.overflow());
        }
        assert_eq!(
            left.len(),
            MOST_RUNNING - 1,
            "a bound on commands on their way"
        );
        assert!(left.iter().all(|batch| batch.questions.len() == MOST));
        let next = questions(test.queue.leave(LANE, left[0].number, MOST));
        assert_eq!(
            next,
            [766, 767, 768],
            "in the order in which they were asked"
        );
    }

    #[test]
    fn those_that_waited_for_long_leave_and_only_they() {
        let mut test = Test::new();
        let Entry::Alone(alone) = test.enter(1) else {
            panic!("nothing is on its way");
        };
        let Entry::First(first) = test.enter(2) else {
            panic!("one is on its way");
        };
        test.enter(3);
        let pushed = test
            .queue
            .push_out(LANE, first, test.now, MOST, MOST_RUNNING);
        assert_eq!(questions(pushed), [2, 3]);
        let Entry::First(other) = test.enter(4) else {
            panic!("two are on their way");
        };
        assert_eq!(
            test.queue
                .push_out(LANE, first, test.now, MOST, MOST_RUNNING),
            None,
            "they left"
        );
        assert_eq!(questions(test.queue.leave(LANE, alone, MOST)), [4]);
        assert_eq!(
            test.queue
                .push_out(LANE, other, test.now, MOST, MOST_RUNNING),
            None
        );
    }

    #[test]
    fn commands_whose_end_nobody_tells_hold_up_nobody_after_their_time() {
        let mut test = Test::new();
        for question in 0..1000 {
            test.enter(question);
            test.overflow();
        }
        test.now += Duration::from_millis(251);
        assert_eq!(test.enter(1000), Entry::Wait, "others were before");
        assert_eq!(questions(test.overflow()), [766, 767, 768]);
    }

    #[test]
    fn lanes_do_not_wait_for_each_other_and_are_forgotten() {
        let mut test = Test::new();
        let until = test.now + Duration::from_millis(250);
        for lane in 1..=100 {
            let entry = test.queue.enter(lane, test.now, until, || 1);
            let Entry::Alone(number) = entry else {
                panic!("lane {lane} is empty");
            };
            assert_eq!(test.queue.leave(lane, number, MOST), None);
        }
        assert!(test.queue.lanes.is_empty());
    }
}
