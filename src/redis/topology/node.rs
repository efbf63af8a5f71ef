//! One server: its connections, its clock, and whether it answers.

use std::{
    future::Future,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use fred::{
    clients::{Client, WithOptions},
    error::{Error as FredError, ErrorKind},
    interfaces::ClientLike,
    types::Builder,
};
use tokio::time::{Instant, error::Elapsed, timeout_at};

use super::{demotion::Demotion, sentinel};
use crate::{
    error::{Error, Kind},
    redis::connection::{
        breaker::Breaker,
        fred_error::{NO_ROUTE, classify, is_misplaced, is_unanswered, is_unsent},
        link::Link,
        server_clock::ServerClock,
        settings::CommandOptions,
        task::Task,
    },
};

/// A server, or a whole cluster behind a cluster client of the application.
#[derive(Debug)]
pub(crate) struct Node {
    links: Vec<Arc<Link>>,
    next: AtomicUsize,
    breaker: Arc<Breaker>,
    clock: Arc<ServerClock>,
    /// Whether it is a whole cluster.
    is_cluster: bool,
    demotion: Demotion,
    /// What makes clients of the sentinels, if there are any, and the task that listens to them.
    sentinels: Option<(Builder, Task)>,
}

impl Node {
    pub(crate) fn new(links: Vec<Arc<Link>>, breaker: Arc<Breaker>) -> Self {
        let next = AtomicUsize::new(0);
        let clock = Arc::new(ServerClock::new());
        let is_cluster = links.iter().any(|link| link.client().is_clustered());
        Self {
            links,
            next,
            breaker,
            clock,
            is_cluster,
            demotion: Demotion::default(),
            sentinels: None,
        }
    }

    /// The same, whose primary the sentinels in the settings of `builder` name.
    pub(crate) fn following(mut self, builder: Builder) -> Self {
        self.sentinels = Some((builder, Task::default()));
        self.follow();
        self
    }

    /// Listens to the sentinels, unless that is being done already.
    fn follow(&self) {
        if let Some((builder, task)) = &self.sentinels {
            if let Some(turn) = task.begin() {
                let links = self.links.iter().map(Arc::downgrade).collect();
                tokio::spawn(sentinel::follow(turn, builder.clone(), links));
            }
        }
    }

    pub(crate) fn is_down(&self) -> bool {
        self.breaker.is_open()
    }

    pub(crate) fn is_cluster(&self) -> bool {
        self.is_cluster
    }

    pub(crate) fn connections(&self) -> usize {
        self.links.len()
    }

    /// Tests on all connections whether replies answer the commands that were sent.
    #[cfg(feature = "cache")]
    pub(crate) fn verify(&self) {
        self.links.iter().for_each(Link::verify);
    }

    /// The client of the next connection in turn.
    pub(crate) fn client(&self) -> Client {
        self.link().lasting_client()
    }

    /// Finds out in the background who takes writes: called when this server said that it does not.
    pub(crate) fn look_for_primary(&self) {
        self.demotion.suspect(&self.links);
    }

    fn link(&self) -> &Arc<Link> {
        match self.links.as_slice() {
            [only] => only,
            many => &many[self.next.fetch_add(1, Ordering::Relaxed) % many.len()],
        }
    }

    /// Sends one command and waits for its answer until the deadline. Counts whether there was an answer.
    pub(crate) async fn send<T, F>(
        &self,
        options: &CommandOptions,
        command: impl Fn(WithOptions<Client>, Arc<ServerClock>) -> F,
    ) -> Result<T, Failure>
    where
        F: Future<Output = Result<T, FredError>>,
    {
        let link = self.link();
        if self.is_down() {
            // The probe may have ended together with its runtime.
            link.suspect();
            return Err(Failure::Refused(Error::new(
                Kind::Unavailable,
                "redis does not answer",
            )));
        }
        // fred's own timeout is the shorter fence: a command that it ends is not sent later. This one is for a client
        // whose task is stuck or gone.
        let limit = options.deadline + options.deadline / 10;
        let until = Instant::now() + limit;
        let run = |options: &CommandOptions| {
            // In a box: what fred nests in it is too deep for the compiler once callers nest it further.
            Box::pin(command(
                link.client().with_options(&options.options),
                Arc::clone(&self.clock),
            ))
        };
        let mut outcome = timeout_at(until, run(options)).await;
        if matches!(&outcome, Ok(Err(error)) if is_unsent(error)) {
            let left = options.deadline.saturating_sub((until - limit).elapsed());
            if !left.is_zero() && self.is_back(link, &outcome, left).await {
                let left = options.deadline.saturating_sub((until - limit).elapsed());
                outcome = timeout_at(until, run(&CommandOptions::new(left))).await;
            }
        }
        match outcome {
            Ok(Ok(value)) => {
                self.breaker.answered();
                Ok(value)
            }
            Ok(Err(error)) => Err(self.fail(link, error, until - limit, options)),
            Err(_) => {
                let error = FredError::new(ErrorKind::Timeout, "no answer from redis");
                Err(self.fail(link, error, until - limit, options))
            }
        }
    }

    /// Whether a command that was not sent, for lack of a connection, can be sent now.
    async fn is_back<T>(
        &self,
        link: &Arc<Link>,
        outcome: &Result<Result<T, FredError>, Elapsed>,
        limit: Duration,
    ) -> bool {
        // fred takes it again once it has begun to connect.
        if matches!(outcome, Ok(Err(error)) if error.details() == NO_ROUTE) {
            return true;
        }
        let is_back = link.renew(limit).await;
        if is_back {
            self.follow();
        }
        is_back
    }

    /// Notes what an error says about the server and the connection.
    fn fail(
        &self,
        link: &Arc<Link>,
        error: FredError,
        begun: Instant,
        options: &CommandOptions,
    ) -> Failure {
        if is_unanswered(&error) {
            let is_late = *error.kind() == ErrorKind::Timeout;
            let error = classify(error);
            match is_late {
                true if options.is_long_enough() => {
                    self.breaker.timed_out(begun, options.deadline, &error);
                }
                true => {}
                false => self.breaker.unanswered(&error),
            }
            link.suspect();
            return Failure::Unanswered(error);
        }
        self.breaker.answered();
        if let Some(address) = moved_to(&error) {
            return Failure::Moved(address.to_owned(), classify(error));
        }
        match *error.kind() {
            ErrorKind::Protocol => link.restart(),
            ErrorKind::Parse => link.verify(),
            _ => {}
        }
        if is_misplaced(&error) {
            Failure::Misplaced(classify(error))
        } else {
            Failure::Refused(classify(error))
        }
    }
}

/// Why a command has no result.
pub(crate) enum Failure {
    /// The key is on another server, at this address.
    Moved(String, Error),
    /// The server is a replica, or its cluster cannot serve the key for now.
    Misplaced(Error),
    /// The server gave no answer.
    Unanswered(Error),
    /// The server answered with another error, or the command was not sent since the server is down.
    Refused(Error),
}

impl From<Failure> for Error {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Moved(_, error)
            | Failure::Misplaced(error)
            | Failure::Unanswered(error)
            | Failure::Refused(error) => error,
        }
    }
}

/// The address in `MOVED 3999 127.0.0.1:6381`.
fn moved_to(error: &FredError) -> Option<&str> {
    let mut words = error.details().strip_prefix("MOVED ")?.split(' ');
    words.nth(1)
}
