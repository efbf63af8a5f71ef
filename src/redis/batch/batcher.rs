//! The batcher: sends a question alone, or together with the others that wait.

use std::{
    fmt,
    future::Future,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::{
    runtime::Handle,
    sync::oneshot,
    task::yield_now,
    time::{Instant, timeout, timeout_at},
};

use super::{
    carrier::{Carrier, Outcome},
    queue::{Batch, Entry, MOST_RUNNING, Queue},
};
use crate::error::{Error, Kind};

/// Sends the questions of one kind.
///
/// A question that is asked while none is on its way leaves at once, in the caller's own task. Otherwise it waits until the
/// other tasks that can run have asked theirs. If two commands are on their way then, it waits until one is answered, until
/// as many questions wait as one command may have, or for a millisecond or so. Those that wait leave in one command, in a task
/// of its own: callers may be dropped at any time.
pub(crate) struct Batcher<C: Carrier> {
    queue: Mutex<Queue<Waiting<C>>>,
}

/// A question, and where its answer goes.
struct Waiting<C: Carrier> {
    question: C::Question,
    until: Instant,
    reply: oneshot::Sender<Reply<C>>,
}

enum Reply<C: Carrier> {
    Outcome(Outcome<C::Answer>),
    /// It is to be asked alone, as the command on its way.
    Turn(Turn<C>),
}

/// A command on its way. When this is dropped, those that wait leave.
struct Turn<C: Carrier> {
    batcher: Arc<Batcher<C>>,
    carrier: C,
    lane: u16,
    number: u64,
    is_over: bool,
}

impl<C: Carrier> Batcher<C> {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self {
            queue: Mutex::default(),
        })
    }

    /// Asks one question, of which an answer is wanted before `until`. Questions of one `lane` may leave together.
    ///
    /// `alone` asks it by a command of its own; its argument is whether the question has waited.
    pub(crate) async fn ask<F>(
        self: &Arc<Self>,
        carrier: C,
        lane: u16,
        until: Instant,
        question: impl FnOnce() -> C::Question,
        alone: impl FnOnce(bool) -> F,
    ) -> Result<C::Answer, Error>
    where
        F: Future<Output = Result<C::Answer, Error>>,
    {
        let mut reply = None;
        let waiting = || {
            let (sender, receiver) = oneshot::channel();
            reply = Some(receiver);
            Waiting {
                question: question(),
                until,
                reply: sender,
            }
        };
        let now = Instant::now();
        let (entry, overflow) = {
            let mut queue = self.queue();
            let entry = queue.enter(lane, now, until, waiting);
            let overflow = match entry {
                Entry::Alone(_) => None,
                Entry::First(_) | Entry::Wait => queue.overflow(lane, now, carrier.most()),
            };
            (entry, overflow)
        };
        if let Some(batch) = overflow {
            self.send(carrier.clone(), lane, batch);
        }
        // `alone` is called in one place: the future of each call would have a place of its own in this one.
        let (_turn, has_waited) = match (entry, reply) {
            (Entry::Alone(number), _) => (Some(self.turn(carrier, lane, number)), false),
            (_, None) => (None, true),
            (entry, Some(reply)) => {
                let first = match entry {
                    Entry::First(number) => Some(First {
                        batcher: self,
                        carrier: &carrier,
                        lane,
                        number,
                    }),
                    _ => None,
                };
                match Box::pin(wait(reply, first, until)).await? {
                    Reply::Outcome(Outcome::Answered(answer)) => return Ok(answer),
                    Reply::Outcome(Outcome::Failed(error)) => return Err(error),
                    Reply::Outcome(Outcome::Alone) => (None, true),
                    Reply::Turn(turn) => (Some(turn), true),
                }
            }
        };
        alone(has_waited).await
    }

    fn queue(&self) -> MutexGuard<'_, Queue<Waiting<C>>> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn turn(self: &Arc<Self>, carrier: C, lane: u16, number: u64) -> Turn<C> {
        Turn {
            batcher: Arc::clone(self),
            carrier,
            lane,
            number,
            is_over: false,
        }
    }

    /// Sends a batch, without the questions whose caller is gone. A single one is sent by its caller.
    fn send(self: &Arc<Self>, carrier: C, lane: u16, batch: Batch<Waiting<C>>) {
        let turn = self.turn(carrier, lane, batch.number);
        let mut waiting = batch.questions;
        waiting.retain(|waiting| !waiting.reply.is_closed());
        if waiting.len() > 1 {
            if let Ok(runtime) = Handle::try_current() {
                runtime.spawn(turn.drive(waiting));
                return;
            }
        }
        hand_over(turn, waiting);
    }
}

/// Has the callers ask for themselves: the first one as the command on its way.
fn hand_over<C: Carrier>(turn: Turn<C>, waiting: Vec<Waiting<C>>) {
    let mut turn = Some(turn);
    for Waiting { reply, .. } in waiting {
        let alone = turn
            .take()
            .map_or(Reply::Outcome(Outcome::Alone), Reply::Turn);
        // A caller that is gone gives its turn back.
        if let Err(Reply::Turn(back)) = reply.send(alone) {
            turn = Some(back);
        }
    }
}

impl<C: Carrier> Turn<C> {
    /// Sends these questions, and then those that wait meanwhile.
    async fn drive(mut self, mut waiting: Vec<Waiting<C>>) {
        loop {
            let count = waiting.len();
            let latest = waiting.iter().map(|waiting| waiting.until).max();
            let until = latest.unwrap_or_else(Instant::now);
            let (questions, replies): (Vec<_>, Vec<_>) = waiting
                .into_iter()
                .map(|waiting| (waiting.question, waiting.reply))
                .unzip();
            let mut outcomes = self.carrier.carry(questions, until).await.into_iter();
            for reply in replies {
                let outcome = outcomes.next().unwrap_or_else(Outcome::missing);
                // The caller may be gone.
                let _ = reply.send(Reply::Outcome(outcome));
            }
            if count > 1 {
                // The callers that were just answered may ask their next question.
                yield_now().await;
            }
            waiting = match self.next() {
                Some(waiting) => waiting,
                None => return,
            };
            if waiting.len() < 2 {
                return hand_over(self, waiting);
            }
        }
    }

    /// The command has ended: the questions that leave next, if any wait.
    fn next(&mut self) -> Option<Vec<Waiting<C>>> {
        let mut queue = self.batcher.queue();
        loop {
            let batch = queue.leave(self.lane, self.number, self.carrier.most());
            let Some(batch) = batch else {
                self.is_over = true;
                return None;
            };
            let mut waiting = batch.questions;
            waiting.retain(|waiting| !waiting.reply.is_closed());
            if !waiting.is_empty() {
                return Some(waiting);
            }
        }
    }
}

impl<C: Carrier> Drop for Turn<C> {
    fn drop(&mut self) {
        if self.is_over {
            return;
        }
        if let Some(questions) = self.next() {
            let (number, lane) = (self.number, self.lane);
            let batch = Batch { number, questions };
            self.batcher.send(self.carrier.clone(), lane, batch);
        }
    }
}

/// The first question of those that wait: it sees to it that they leave in time, also when its caller is gone.
struct First<'a, C: Carrier> {
    batcher: &'a Arc<Batcher<C>>,
    carrier: &'a C,
    lane: u16,
    number: u64,
}

impl<C: Carrier> First<'_, C> {
    fn push_out(&self, running: usize) {
        let (lane, most) = (self.lane, self.carrier.most());
        let batch = {
            let mut queue = self.batcher.queue();
            queue.push_out(lane, self.number, Instant::now(), most, running)
        };
        if let Some(batch) = batch {
            self.batcher.send(self.carrier.clone(), lane, batch);
        }
    }
}

impl<C: Carrier> Drop for First<'_, C> {
    fn drop(&mut self) {
        self.push_out(MOST_RUNNING);
    }
}

async fn wait<C: Carrier>(
    mut reply: oneshot::Receiver<Reply<C>>,
    first: Option<First<'_, C>>,
    until: Instant,
) -> Result<Reply<C>, Error> {
    let received = |received: Result<Reply<C>, _>| {
        received.map_err(|error| {
            Error::new(Kind::Unavailable, "the runtime is shutting down").caused_by(error)
        })
    };
    if let Some(first) = first {
        // All tasks that can run now ask their questions before this one goes on.
        yield_now().await;
        first.push_out(FEW_RUNNING);
        if let Ok(early) = timeout(AGE, &mut reply).await {
            return received(early);
        }
        drop(first);
    }
    match timeout_at(until, reply).await {
        Ok(reply) => received(reply),
        Err(_) => Err(Error::new(
            Kind::Timeout,
            "no answer from redis within the deadline",
        )),
    }
}

impl<C: Carrier> fmt::Debug for Batcher<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Batcher").finish_non_exhaustive()
    }
}

/// With as many commands on their way, a question waits for the answer to one of them.
const FEW_RUNNING: usize = 2;
/// How long a question waits for the answer of the one on its way. The timer counts whole milliseconds.
const AGE: Duration = Duration::from_millis(1);

#[cfg(test)]
mod tests;
