//! Lets an inner cache take over the lead of an outer one: both store the same answer under the same key, and without this
//! the inner cache would wait for the outer one's lead.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use http::Extensions;

use crate::store::{Digest, Lead, Slot};

/// A lead in the request's extensions, which an inner cache may take.
#[derive(Clone, Debug)]
pub(crate) struct Handover(Arc<Mutex<Option<(Digest, Lead)>>>);

impl Handover {
    /// Offers the lead for `slot`.
    pub(crate) fn offer(extensions: &mut Extensions, slot: &Slot, lead: Lead) -> Self {
        let offer = Self(Arc::new(Mutex::new(Some((*slot.digest(), lead)))));
        extensions.insert(offer.clone());
        offer
    }

    /// Takes the lead for `slot`, if an outer cache has offered it.
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

    /// Takes the lead back, unless an inner cache has it.
    pub(crate) fn withdraw(self) -> Option<Lead> {
        self.offered().take().map(|(_, lead)| lead)
    }
}
