//! Loading values anew in the background.

use std::{future::Future, sync::Arc};

use serde::{Serialize, de::DeserializeOwned};

use super::{loading::keep, values::Memo};
use crate::store::{Slot, State, Usable};

impl<T: Serialize + DeserializeOwned> Memo<T> {
    /// As [`get_or_try_set`](Self::get_or_try_set), but a caller never waits while a stale value may be used: it gets that
    /// value, and the load runs in the background. So `load` must own what it uses.
    ///
    /// A load that fails is not tried again for a second, or for the [`error_pause`](Self::error_pause) that was set.
    ///
    /// At most 64 loads run in the background at once, or as many as
    /// [`background_refreshes`](Self::background_refreshes) says; the others wait for their turn. One may take 60 s
    /// ([`refresh_limit`](Self::refresh_limit)). All end when the last clone of the memo is dropped.
    ///
    /// ```no_run
    /// # use std::io;
    /// # async fn ask_the_bank() -> io::Result<f64> { Ok(1.0) }
    /// # async fn example(redis: tower_fred::Redis) -> io::Result<()> {
    /// use std::time::Duration;
    /// use tower_fred::memo::Memo;
    ///
    /// let rates: Memo<f64> = Memo::new(redis, "rates", Duration::from_secs(60))
    ///     .stale_while_revalidate(Duration::from_secs(600));
    /// let rate = rates.get_or_refresh("EUR", || ask_the_bank()).await?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// Only those of `load`.
    pub async fn get_or_refresh<E, F, Fut>(&self, key: impl Serialize, load: F) -> Result<T, E>
    where
        T: Send + 'static,
        F: FnOnce() -> Fut + Send + 'static,
        Fut: Future<Output = Result<T, E>> + Send + 'static,
        E: Send + 'static,
    {
        let Some(slot) = self.try_slot(&key) else {
            return load().await;
        };
        if let Some(value) = self.peek(&slot).await {
            return Ok(value);
        }
        let mut budget = self.store.budget();
        // Boxed, since the future is large.
        match Box::pin(self.find(&slot, &mut budget)).await {
            Ok((value, usable)) => {
                if usable.state != State::Fresh {
                    self.refresh(slot, usable, load);
                }
                Ok(value)
            }
            Err(lead) => self.load(*lead, &slot, load).await,
        }
    }

    /// Loads a value anew in the background, unless another caller does.
    fn refresh<E, F, Fut>(&self, slot: Slot, usable: Usable, load: F)
    where
        T: Send + 'static,
        F: FnOnce() -> Fut + Send + 'static,
        Fut: Future<Output = Result<T, E>> + Send + 'static,
    {
        let config = Arc::clone(&self.config);
        let stale = usable.clone();
        self.store.refresh(slot, usable, |lead, slot| async move {
            match lead.watch().during(load()).await {
                Ok(value) => keep(&config, lead, &slot, &value),
                Err(_) => lead.failed(Some(&stale)),
            }
        });
    }
}
