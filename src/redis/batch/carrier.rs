//! What the batcher needs to know of a kind of question.

use std::future::Future;

use tokio::time::Instant;

use crate::error::{Error, Kind};

/// Sends the questions of one kind.
pub(crate) trait Carrier: Clone + Send + Sync + 'static {
    type Question: Send + 'static;
    type Answer: Send + 'static;

    /// How many questions one command may have.
    fn most(&self) -> usize;

    /// Sends these questions in one command, and gives up at `until`. Gives an outcome for each, in the same order.
    fn carry(
        &self,
        questions: Vec<Self::Question>,
        until: Instant,
    ) -> impl Future<Output = Vec<Outcome<Self::Answer>>> + Send;
}

/// What became of one question of a batch.
#[derive(Debug)]
pub(crate) enum Outcome<A> {
    Answered(A),
    /// It has no answer. It may have been carried out.
    Failed(Error),
    /// Nothing was carried out for it: it is to be asked alone.
    Alone,
}

impl<A> Outcome<A> {
    pub(crate) fn missing() -> Self {
        Self::Failed(Error::new(
            Kind::Corrupt,
            "redis answered a batch with too few values",
        ))
    }
}

impl<A: Clone> Outcome<A> {
    /// The same for another caller with the same question.
    pub(crate) fn same(&self) -> Self {
        match self {
            Self::Answered(answer) => Self::Answered(answer.clone()),
            Self::Failed(error) => Self::Failed(error.share()),
            Self::Alone => Self::Alone,
        }
    }
}
