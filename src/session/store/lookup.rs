//! Reading the record of a session.

use super::{records::unix_millis, session_store::SessionStore};
use crate::{
    error::Error,
    redis::Budget,
    session::{
        credential::holder::Holder,
        record::{hash::StoredHash, session_record::Found},
    },
};

impl SessionStore {
    /// Reads the record of `holder` and judges it.
    pub(crate) async fn find(&self, holder: &Holder) -> Result<Found, Error> {
        self.find_within(holder, self.redis.budget()).await
    }

    /// As [`find`](Self::find), for a caller that has waited for other sessions before.
    pub(crate) async fn find_within(
        &self,
        holder: &Holder,
        budget: Budget,
    ) -> Result<Found, Error> {
        let id = holder.token.id();
        let fields = budget.limit(self.redis.hash(&self.key(&id))).await?;
        let found = StoredHash { id, fields }.judge(holder, unix_millis(), &self.settings)?;
        Ok(self.check_index(holder, found, budget).await)
    }
}
