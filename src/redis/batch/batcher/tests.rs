use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::{
    sync::{Semaphore, mpsc},
    task::JoinHandle,
    time::sleep,
};

use super::*;

/// Answers each number with its double, when there is a permit; keeps what left together.
#[derive(Clone)]
struct Doubles(Arc<Kept>);

struct Kept {
    permits: Semaphore,
    batches: mpsc::UnboundedSender<Vec<u64>>,
    alone: AtomicUsize,
}

impl Carrier for Doubles {
    type Question = u64;
    type Answer = u64;

    fn most(&self) -> usize {
        4
    }

    async fn carry(&self, questions: Vec<u64>, _until: Instant) -> Vec<Outcome<u64>> {
        let _ = self.0.batches.send(questions.clone());
        let permit = self.0.permits.acquire().await.expect("open");
        permit.forget();
        questions
            .into_iter()
            .map(|question| match question {
                FAILS => Outcome::Failed(Error::new(Kind::Unavailable, "fails")),
                ALONE => Outcome::Alone,
                _ => Outcome::Answered(2 * question),
            })
            .collect()
    }
}

const FAILS: u64 = 98;
const ALONE: u64 = 99;

struct Test {
    batcher: Arc<Batcher<Doubles>>,
    carrier: Doubles,
    batches: mpsc::UnboundedReceiver<Vec<u64>>,
}

impl Test {
    fn new() -> Self {
        let (sender, batches) = mpsc::unbounded_channel();
        let carrier = Doubles(Arc::new(Kept {
            permits: Semaphore::new(0),
            batches: sender,
            alone: AtomicUsize::new(0),
        }));
        Self {
            batcher: Batcher::new(),
            carrier,
            batches,
        }
    }

    /// Asks in a task of its own, which runs when the test waits, after those that were asked before.
    fn ask(&self, question: u64) -> JoinHandle<Result<u64, Error>> {
        self.ask_for(question, Duration::from_secs(10))
    }

    fn ask_for(&self, question: u64, time: Duration) -> JoinHandle<Result<u64, Error>> {
        let (batcher, carrier) = (Arc::clone(&self.batcher), self.carrier.clone());
        tokio::spawn(async move {
            let kept = Arc::clone(&carrier.0);
            let until = Instant::now() + time;
            let alone = async |_| {
                kept.alone.fetch_add(1, Ordering::Relaxed);
                let permit = kept.permits.acquire().await.expect("open");
                permit.forget();
                Ok(2 * question)
            };
            batcher.ask(carrier, 0, until, || question, alone).await
        })
    }

    fn answer(&self, count: usize) {
        self.carrier.0.permits.add_permits(count);
    }

    fn alone(&self) -> usize {
        self.carrier.0.alone.load(Ordering::Relaxed)
    }
}

/// Lets all tasks run until they wait.
async fn all_wait() {
    for _ in 0..10 {
        yield_now().await;
    }
}

async fn result(asking: JoinHandle<Result<u64, Error>>) -> Result<u64, Error> {
    asking.await.expect("no panic")
}

#[tokio::test(start_paused = true)]
async fn the_first_is_asked_alone_and_those_after_it_together() {
    let mut test = Test::new();
    let first = test.ask(1);
    let others = [test.ask(2), test.ask(3)];
    assert_eq!(test.batches.recv().await, Some(vec![2, 3]));
    test.answer(2);
    assert_eq!(result(first).await.expect("an answer"), 2);
    for (other, answer) in others.into_iter().zip([4, 6]) {
        assert_eq!(result(other).await.expect("an answer"), answer);
    }
    let again = test.ask(5);
    all_wait().await;
    assert_eq!(test.alone(), 2, "nothing was on its way");
    test.answer(1);
    assert_eq!(result(again).await.expect("an answer"), 10);
}

#[tokio::test(start_paused = true)]
async fn one_that_waits_alone_is_sent_by_its_caller() {
    let test = Test::new();
    let (first, second) = (test.ask(1), test.ask(2));
    all_wait().await;
    test.answer(2);
    assert_eq!(result(first).await.expect("an answer"), 2);
    assert_eq!(result(second).await.expect("an answer"), 4);
    assert_eq!(test.alone(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_caller_that_is_gone_strands_nobody() {
    let mut test = Test::new();
    let (first, second) = (test.ask(1), test.ask(2));
    let (third, fourth) = (test.ask(3), test.ask(4));
    yield_now().await;
    // The one on its way, the one that would have sent the others, and one that waits.
    first.abort();
    second.abort();
    third.abort();
    let fifth = test.ask(5);
    test.answer(10);
    assert_eq!(result(fourth).await.expect("an answer"), 8);
    assert_eq!(result(fifth).await.expect("an answer"), 10);
    test.batches.close();
    while let Some(batch) = test.batches.recv().await {
        assert!(!batch.contains(&1), "{batch:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_slow_command_holds_up_others_for_milliseconds() {
    let test = Test::new();
    let slow = test.ask(1);
    let others = [test.ask(2), test.ask(3)];
    all_wait().await;
    let last = [test.ask(4), test.ask(5)];
    all_wait().await;
    assert_eq!(test.batches.len(), 1, "two commands are on their way");
    // None of them is answered.
    sleep(Duration::from_millis(3)).await;
    assert_eq!(test.batches.len(), 2);
    test.answer(3);
    for asking in [slow].into_iter().chain(others).chain(last) {
        result(asking).await.expect("an answer");
    }
}

#[tokio::test(start_paused = true)]
async fn each_caller_has_its_own_deadline() {
    let test = Test::new();
    let begin = Instant::now();
    let ms = Duration::from_millis;
    let _first = test.ask(1);
    let hasty = test.ask_for(2, ms(50));
    let patient = test.ask_for(3, ms(500));
    assert!(result(hasty).await.expect_err("no answer").is_timeout());
    assert!(
        (ms(50)..ms(60)).contains(&begin.elapsed()),
        "{:?}",
        begin.elapsed()
    );
    test.answer(2);
    assert_eq!(result(patient).await.expect("an answer"), 6);
}

#[tokio::test(start_paused = true)]
async fn an_error_of_one_question_is_that_caller_s() {
    let test = Test::new();
    let _first = test.ask(1);
    let (fails, alone, fine) = (test.ask(FAILS), test.ask(ALONE), test.ask(4));
    all_wait().await;
    test.answer(10);
    assert!(result(fails).await.expect_err("its own").is_unavailable());
    assert_eq!(result(alone).await.expect("an answer"), 2 * ALONE);
    assert_eq!(result(fine).await.expect("an answer"), 8);
    assert_eq!(
        test.alone(),
        2,
        "the first one and the one that was to be asked alone"
    );
}

/// Commands that never end, since their runtime was stopped, once filled all places.
#[test]
fn a_runtime_that_ended_does_not_stop_the_questions_of_another() {
    let runtime = || {
        tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
    };
    let (one, other) = (runtime().expect("one"), runtime().expect("another"));
    let test = Test::new();
    let asked = one.block_on(async {
        let mut asked = Vec::new();
        for question in 0..20 {
            asked.push(test.ask_for(question, Duration::from_millis(50)));
        }
        all_wait().await;
        asked
    });
    // Nothing runs on the first one from now on.
    std::thread::sleep(Duration::from_millis(60));
    test.answer(1000);
    other.block_on(async {
        for question in 20..24 {
            let asking = test.ask(question);
            assert_eq!(result(asking).await.expect("an answer"), 2 * question);
        }
    });
    drop(asked);
}
