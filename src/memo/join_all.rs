//! Running several futures at once.

use std::{
    future::{Future, poll_fn},
    pin::Pin,
    task::Poll,
};

/// Runs all futures at once, so that their commands are sent in one write.
pub(crate) async fn join_all<F: Future>(futures: impl Iterator<Item = F>) -> Vec<F::Output> {
    let mut running: Vec<_> = futures.map(Running::begin).collect();
    poll_fn(|cx| {
        let mut is_done = true;
        for one in running.iter_mut().filter(|one| one.output.is_none()) {
            match one.future.as_mut().poll(cx) {
                Poll::Ready(output) => one.output = Some(output),
                Poll::Pending => is_done = false,
            }
        }
        if is_done {
            Poll::Ready(())
        } else {
            Poll::Pending
        }
    })
    .await;
    running.into_iter().filter_map(|one| one.output).collect()
}

struct Running<F: Future> {
    future: Pin<Box<F>>,
    output: Option<F::Output>,
}

impl<F: Future> Running<F> {
    fn begin(future: F) -> Self {
        Self {
            future: Box::pin(future),
            output: None,
        }
    }
}
