//! A lead that a cache further in may take over: two caches in a row file the same answer under the same key.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use http::Extensions;

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

    fn offered(&self) -> MutexGuard<'_, Option<(Digest, Lead)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes the lead back, unless it was taken over.
    pub(crate) fn withdraw(self) -> Option<Lead> {
        self.offered().take().map(|(_, lead)| lead)
    }
}
