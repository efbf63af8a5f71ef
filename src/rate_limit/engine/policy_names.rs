//! The names of policies that are in use on one handle: each has one set of numbers.

use std::{
    collections::HashMap,
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak, atomic::Ordering},
};

use crate::{
    log_pace::{self, LogPace},
    rate_limit::quota::{
        policies::{Limit, Policies},
        policy::Policy,
    },
    redis::Redis,
};

/// The policies with a name that layers and limiters of one handle have, by algorithm and name.
#[derive(Debug, Default)]
pub(crate) struct PolicyNames {
    used: Mutex<HashMap<Name, Vec<Used>>>,
    pace: LogPace,
}

/// An algorithm and a name.
type Name = (&'static str, String);

/// A policy that is in use for as long as somebody else holds it.
#[derive(Debug)]
struct Used {
    limit: Weak<Limit>,
    by_layer: bool,
}

/// One name with two sets of numbers.
#[derive(Debug)]
pub(crate) struct Conflict {
    used: Policy,
    other: Policy,
    /// Whether layers have both.
    pub(crate) of_layers: bool,
}

impl PolicyNames {
    pub(crate) fn of(redis: &Redis) -> Arc<Self> {
        redis.shared(Self::default)
    }

    /// Takes the names of a layer's policies into use. Gives the first that is in use with other numbers.
    pub(crate) fn of_layer(&self, policies: &Policies) -> Result<(), Conflict> {
        let named = policies
            .limits()
            .iter()
            .filter(|limit| limit.policy.is_named());
        let mut conflicts = named.filter_map(|limit| self.take(limit, true).err());
        conflicts.next().map_or(Ok(()), Err)
    }

    /// Takes the names of a limiter's policies into use, and logs the ones that are in use with other numbers. Each policy
    /// is looked at once.
    pub(crate) fn of_limiter(&self, policies: &Policies) {
        for limit in unknown(policies) {
            if let Err(conflict) = self.take(limit, false) {
                self.log(&conflict);
            }
        }
    }

    /// The same for the policies of a tier beside those of its layer, without taking them into use: other subjects of the
    /// layer may have other numbers.
    pub(crate) fn of_tier(&self, policies: &Policies, layer: &Policies) {
        let is_own = |policy: &Policy| layer.iter().any(|own| own.name() == policy.name());
        if policies.iter().all(is_own) {
            return;
        }
        for limit in unknown(policies) {
            if let Err(conflict) = conflict(self.lock().get(&name(limit)), limit, false) {
                self.log(&conflict);
            }
        }
    }

    /// At most one line a second: an application may make such policies for each request.
    pub(crate) fn log(&self, conflict: &Conflict) {
        if let Some(omitted) = self.pace.admit(log_pace::uptime()) {
            tracing::error!(target: "tower_fred::rate_limit", omitted, "{conflict}");
        }
    }

    fn take(&self, limit: &Arc<Limit>, by_layer: bool) -> Result<(), Conflict> {
        let mut all = self.lock();
        let used = all.entry(name(limit)).or_default();
        used.retain(|one| one.limit.strong_count() > 0);
        conflict(Some(used), limit, by_layer)?;
        let is_same =
            |one: &Used| one.by_layer == by_layer && one.limit.as_ptr() == Arc::as_ptr(limit);
        if !used.iter().any(is_same) {
            let limit = Arc::downgrade(limit);
            used.push(Used { limit, by_layer });
        }
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Name, Vec<Used>>> {
        self.used.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn name(limit: &Limit) -> Name {
    (limit.policy.script().0, limit.policy.name().to_owned())
}

/// The policies with a name that nobody has looked at yet.
fn unknown(policies: &Policies) -> impl Iterator<Item = &Arc<Limit>> {
    let is_known = |limit: &Limit| {
        let noted = &limit.noted;
        noted.load(Ordering::Relaxed) || noted.swap(true, Ordering::Relaxed)
    };
    let named = policies
        .limits()
        .iter()
        .filter(|limit| limit.policy.is_named());
    named.filter(move |limit| !is_known(limit))
}

/// Whether the name of a policy is in use with other numbers; by two layers, if there are such.
fn conflict(used: Option<&Vec<Used>>, limit: &Limit, by_layer: bool) -> Result<(), Conflict> {
    let others = used.into_iter().flatten().filter_map(|one| {
        let other = one.limit.upgrade()?;
        (other.digest != limit.digest).then(|| Conflict {
            used: other.policy.clone(),
            other: limit.policy.clone(),
            of_layers: one.by_layer && by_layer,
        })
    });
    others
        .max_by_key(|conflict| conflict.of_layers)
        .map_or(Ok(()), Err)
}

impl fmt::Display for Conflict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { used, other, .. } = self;
        write!(
            f,
            "two rate limits have one name and other numbers, so they would spend each other's permits: \
             `{other}` beside `{used}`"
        )
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::rate_limit::{Algorithm, Quota};

    fn policies(policy: Policy) -> Policies {
        policy.into()
    }

    #[test]
    fn a_name_has_one_set_of_numbers_while_it_is_in_use() {
        let names = PolicyNames::default();
        let few = policies(Policy::new("a", Quota::per_hour(2)));
        let again = policies(Policy::new("a", Quota::per_hour(2)).shadow());
        assert!(names.of_layer(&few).is_ok() && names.of_layer(&few).is_ok());
        assert!(names.of_layer(&again).is_ok());
        let others = [
            Policy::new("a", Quota::per_hour(3)),
            Policy::new("a", Quota::per_hour(2).burst(3)),
            Policy::new("a", Quota::per_minute(2)),
        ]
        .map(policies);
        for other in &others {
            let conflict = names.of_layer(other).expect_err("other numbers");
            assert!(conflict.of_layers);
            assert!(
                conflict.to_string().contains("a: 2 per 3600s"),
                "{conflict}"
            );
        }
        let allowed = [
            Policy::new("b", Quota::per_hour(3)),
            Policy::concurrency("a", 3),
            Policy::new("a", Quota::per_hour(3)).algorithm(Algorithm::SlidingLog),
            Policy::unnamed(Quota::per_hour(3)),
            Policy::unnamed(Quota::per_hour(4)),
        ]
        .map(policies);
        for other in &allowed {
            assert!(names.of_layer(other).is_ok(), "{other:?}");
        }
        let lease = Policy::concurrency("a", 3).lease(Duration::from_secs(3));
        assert!(names.of_layer(&policies(lease)).is_err());
        drop(few);
        assert!(names.of_layer(&others[0]).is_err());
        drop(again);
        assert!(names.of_layer(&others[0]).is_ok());
    }

    #[test]
    fn a_limiter_with_other_numbers_does_not_stop_a_layer() {
        let names = PolicyNames::default();
        let [few, many] =
            [2, 3].map(|permits| policies(Policy::new("a", Quota::per_hour(permits))));
        names.of_limiter(&few);
        let conflict = names.of_layer(&many).expect_err("other numbers");
        assert!(!conflict.of_layers);
    }
}
