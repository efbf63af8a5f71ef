//! The settings of a memo.

use std::{fmt, sync::Arc, time::Duration};

use super::codec::Codec;
use crate::store::{Life, Settings, Tag};

/// The settings that all calls of one memo share.
pub(crate) struct Config<T> {
    pub(crate) name: Box<str>,
    pub(crate) ttl: Duration,
    pub(crate) ttl_by: Option<Arc<By<T, Duration>>>,
    pub(crate) jitter: f64,
    pub(crate) stale_while_revalidate: Duration,
    pub(crate) stale_if_error: Duration,
    pub(crate) tags: Vec<Tag>,
    pub(crate) tags_by: Option<Arc<By<T, Vec<String>>>>,
    pub(crate) codec: Codec,
    pub(crate) compress_above: Option<usize>,
    pub(crate) store: Settings,
}

/// A function of a value.
pub(crate) type By<T, R> = dyn Fn(&T) -> R + Send + Sync;

impl<T> Config<T> {
    pub(crate) fn new(name: Box<str>, ttl: Duration) -> Self {
        check_ttl(ttl);
        Self {
            name,
            ttl,
            ttl_by: None,
            jitter: 0.0,
            stale_while_revalidate: Duration::ZERO,
            stale_if_error: Duration::ZERO,
            tags: Vec::new(),
            tags_by: None,
            codec: Codec::Json,
            compress_above: None,
            store: Settings::default(),
        }
    }

    /// How long `value` is fresh; `chance` is a random number between 0 and 1.
    pub(crate) fn lifetime(&self, value: &T, chance: f64) -> Duration {
        let ttl = self.ttl_by.as_ref().map_or(self.ttl, |by| by(value));
        ttl.min(LONGEST).mul_f64(1.0 - self.jitter * chance)
    }

    /// Adds the stale times and the tags to the life of `value`.
    pub(crate) fn complete(&self, life: &Life, value: &T) -> Life {
        let own = self.tags_by.as_ref().map_or_else(Vec::new, |by| by(value));
        let own = own.iter().map(|tag| Tag::named(tag));
        Life {
            swr_ms: millis(self.stale_while_revalidate),
            sie_ms: millis(self.stale_if_error),
            tags: self.tags.iter().copied().chain(own).collect(),
            ..life.clone()
        }
    }
}

/// Panics for a ttl that Redis would refuse at each write.
pub(crate) fn check_ttl(ttl: Duration) {
    assert!(
        (Duration::from_millis(1)..=LONGEST).contains(&ttl),
        "the ttl of a memo must be between 1 ms and 100 years"
    );
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.min(LONGEST).as_millis()).unwrap_or(u64::MAX)
}

impl<T> Clone for Config<T> {
    fn clone(&self) -> Self {
        Self {
            name: self.name.clone(),
            ttl_by: self.ttl_by.clone(),
            tags: self.tags.clone(),
            tags_by: self.tags_by.clone(),
            store: self.store.clone(),
            ..*self
        }
    }
}

impl<T> fmt::Debug for Config<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Config")
            .field("name", &self.name)
            .field("ttl", &self.ttl)
            .field("stale_while_revalidate", &self.stale_while_revalidate)
            .field("stale_if_error", &self.stale_if_error)
            .field("codec", &self.codec)
            .field("store", &self.store)
            .finish_non_exhaustive()
    }
}

const LONGEST: Duration = Duration::from_secs(100 * 366 * 24 * 60 * 60);

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    #[test]
    fn jitter_shortens_a_lifetime() {
        let mut config: Config<()> = Config::new("test".into(), MINUTE);
        assert_eq!(config.lifetime(&(), 0.7), MINUTE);
        config.jitter = 0.1;
        assert_eq!(config.lifetime(&(), 0.0), MINUTE);
        assert_eq!(config.lifetime(&(), 0.5), Duration::from_secs(57));
    }

    #[test]
    fn a_lifetime_may_depend_on_the_value_and_has_an_end() {
        let mut config: Config<Option<u8>> = Config::new("test".into(), MINUTE);
        config.ttl_by = Some(Arc::new(|value| match value {
            None => Duration::ZERO,
            Some(_) => Duration::MAX,
        }));
        assert_eq!(config.lifetime(&None, 0.0), Duration::ZERO);
        assert_eq!(config.lifetime(&Some(1), 0.0), LONGEST);
    }
}
