//! A lead that a cache further in may take over: two caches in a row file the same answer under the same key.

use std::{
    future::Future,
    pin::pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use http::Extensions;
use tokio::{runtime::Handle, time::timeout};

use crate::store::{Digest, Lead, Slot};

/// A lead on its way through the layers to the handler, in the request's extensions.
#[derive(Clone, Debug)]
pub(crate) struct Handover(Arc<Mutex<Option<(Digest, Lead)>>>);

impl Handover {
    /// Offers the lead for what is in `slot`.
    pub(crate) fn offer(extensions: &mut Extensions, slot: &Slot, lead: Lead) -> Self {
        let offer = Self(Arc::new(Mutex::new(Some((*slot.digest(), lead)))));
        extensions.insert(offer.clone());
        offer
    }

    /// The lead for `slot`, if a cache further out has offered it.
    pub(crate) fn accept(extensions: &mut Extensions, slot: &Slot) -> Option<Lead> {
        let offer: Self = extensions.remove()?;
        let (_, lead) = offer
            .offered()
            .take_if(|(digest, _)| digest == slot.digest())?;
        Some(lead)
    }

    /// Awaits `answer`, and notes four times a second that this is being done: whoever waits for it waits no longer than
    /// its task is run.
    pub(crate) async fn while_asking<F: Future>(&self, answer: F) -> F::Output {
        let mut answer = pin!(answer);
        loop {
            // A timer needs a runtime.
            if Handle::try_current().is_err() {
                return answer.await;
            }
            if let Ok(answer) = timeout(PULSE, answer.as_mut()).await {
                return answer;
            }
            if let Some((_, lead)) = &*self.offered() {
                lead.progress();
            }
        }
    }

    fn offered(&self) -> MutexGuard<'_, Option<(Digest, Lead)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes the lead back, unless it was taken over.
    pub(crate) fn withdraw(self) -> Option<Lead> {
        self.offered().take().map(|(_, lead)| lead)
    }
}

/// How often a handler that is waited for is noted to be waited for.
const PULSE: Duration = Duration::from_millis(250);
