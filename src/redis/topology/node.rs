//! One server: its connections, its clock, and whether it answers.

use std::{
    future::Future,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use fred::{
    clients::{Client, WithOptions},
    error::{Error as FredError, ErrorKind},
    interfaces::ClientLike,
};
use tokio::time::timeout;

use crate::{
    error::{Error, Kind},
    redis::connection::{
        breaker::Breaker,
        fred_error::{classify, is_unanswered},
        link::Link,
        server_clock::ServerClock,
        settings::CommandOptions,
    },
};

/// A server, or a whole cluster behind a cluster client of the application.
#[derive(Debug)]
pub(crate) struct Node {
    links: Vec<Arc<Link>>,
    next: AtomicUsize,
    breaker: Arc<Breaker>,
    clock: Arc<ServerClock>,
}

impl Node {
    pub(crate) fn new(links: Vec<Arc<Link>>, breaker: Arc<Breaker>) -> Self {
        let next = AtomicUsize::new(0);
        let clock = Arc::new(ServerClock::new());
        Self {
            links,
            next,
            breaker,
            clock,
        }
    }

    pub(crate) fn is_down(&self) -> bool {
        self.breaker.is_open()
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
        self.link().client()
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
        command: impl FnOnce(WithOptions<Client>, Arc<ServerClock>) -> F,
    ) -> Result<T, Failure>
    where
        F: Future<Output = Result<T, FredError>>,
    {
        if self.is_down() {
            return Err(Failure::Refused(Error::new(
                Kind::Unavailable,
                "redis does not answer",
            )));
        }
        let link = self.link();
        // Boxed, since the futures of fred and of the callers together are nested too deep for the compiler.
        let command = Box::pin(command(
            link.client().with_options(&options.options),
            Arc::clone(&self.clock),
        ));
        // fred's own timeout is shorter: a command that it ends is not sent later. This one is for a client whose task
        // is stuck or has ended.
        match timeout(options.deadline + options.deadline / 10, command).await {
            Ok(Ok(value)) => {
                self.breaker.answered();
                Ok(value)
            }
            Ok(Err(error)) => Err(self.failed(link, error)),
            Err(_) => Err(self.unanswered(
                link,
                Error::new(Kind::Timeout, "no answer from redis within the deadline"),
            )),
        }
    }

    fn failed(&self, link: &Arc<Link>, error: FredError) -> Failure {
        if is_unanswered(&error) {
            return self.unanswered(link, classify(error));
        }
        self.breaker.answered();
        if let Some(address) = moved_to(&error) {
            return Failure::Moved(address.to_owned(), classify(error));
        }
        match error.kind() {
            ErrorKind::Protocol => {
                tracing::error!(target: "tower_fred::redis", %error, "dropped a reply: connecting again");
                link.restart();
            }
            ErrorKind::Parse => link.verify(),
            _ => {}
        }
        Failure::Refused(classify(error))
    }

    fn unanswered(&self, link: &Arc<Link>, error: Error) -> Failure {
        self.breaker.unanswered(&error);
        link.probe();
        Failure::Unanswered(error)
    }
}

/// Why a command has no result.
pub(crate) enum Failure {
    /// The key is on another server, at this address.
    Moved(String, Error),
    /// The server gave no answer, or cannot serve yet.
    Unanswered(Error),
    /// The server answered with another error, or the command was not sent since the server is down.
    Refused(Error),
}

impl From<Failure> for Error {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Moved(_, error) | Failure::Unanswered(error) | Failure::Refused(error) => {
                error
            }
        }
    }
}

/// The address in `MOVED 3999 127.0.0.1:6381`.
fn moved_to(error: &FredError) -> Option<&str> {
    let mut words = error.details().strip_prefix("MOVED ")?.split(' ');
    words.nth(1)
}
