//! One server: its connections, and whether it answers.

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

/// A server, or all of a cluster behind a client of the application.
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

    /// Makes sure that the replies of all connections are to what was asked.
    #[cfg(feature = "cache")]
    pub(crate) fn verify(&self) {
        self.links.iter().for_each(Link::verify);
    }

    /// The connections in turn.
    pub(crate) fn client(&self) -> Client {
        self.link().client()
    }

    fn link(&self) -> &Arc<Link> {
        match self.links.as_slice() {
            [only] => only,
            many => &many[self.next.fetch_add(1, Ordering::Relaxed) % many.len()],
        }
    }

    /// Runs one command, bounded in time, and notes whether there was an answer.
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
        // In a box: what fred nests in it is too deep for the compiler once callers nest it further.
        let command = Box::pin(command(
            link.client().with_options(&options.options),
            Arc::clone(&self.clock),
        ));
        // fred's own timeout is the shorter fence: a command that it ends is not sent later. This one is for a client
        // whose task is stuck or gone.
        let (error, unanswered) = match timeout(options.deadline + options.deadline / 10, command)
            .await
        {
            Ok(Ok(value)) => {
                self.breaker.answered();
                return Ok(value);
            }
            Ok(Err(error)) => {
                if let Some(address) = moved_to(&error) {
                    self.breaker.answered();
                    return Err(Failure::Moved(address.to_owned(), classify(error)));
                }
                if *error.kind() == ErrorKind::Protocol {
                    tracing::error!(target: "tower_fred::redis", %error, "dropped a reply: connecting again");
                    link.restart();
                }
                if *error.kind() == ErrorKind::Parse {
                    link.verify();
                }
                let unanswered = is_unanswered(&error);
                (classify(error), unanswered)
            }
            Err(_) => (
                Error::new(Kind::Timeout, "no answer from redis within the deadline"),
                true,
            ),
        };
        if unanswered {
            self.breaker.unanswered(&error);
            link.suspect();
            return Err(Failure::Unanswered(error));
        }
        self.breaker.answered();
        Err(Failure::Refused(error))
    }
}

/// Why a command has no result.
pub(crate) enum Failure {
    /// The key is on another server, at this address.
    Moved(String, Error),
    /// The server gave no answer.
    Unanswered(Error),
    /// The server answered an error, or was not asked.
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
