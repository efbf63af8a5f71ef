//! The directives of a request (RFC 9111 §5.2.1), and whether a stored answer satisfies them.

use http::{HeaderMap, header};

use super::{
    cache_control::{CacheControl, Scope},
    cache_status::Forward,
};
use crate::store::{Life, State};

/// The directives and fields of a request that decide whether its answer may be stored, and whether a stored one may be used.
#[derive(Clone, Debug, Default)]
pub(crate) struct RequestDirectives {
    pub(crate) authorization: bool,
    pub(crate) no_store: bool,
    only_if_cached: bool,
    no_cache: bool,
    max_age: Option<u32>,
    min_fresh: Option<u32>,
    max_stale: Option<u32>,
    stale_if_error: Option<u32>,
}

/// How a request is answered for which an answer is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Choice {
    /// With the stored answer.
    Use,
    /// With the stored answer, which is refreshed in the background.
    UseAndRefresh,
    /// By the handler.
    Ask(Forward),
}

impl RequestDirectives {
    /// Reads a request. If `directives` is false, of the client's directives only `no-store` counts.
    pub(crate) fn of(headers: &HeaderMap, directives: bool) -> Self {
        // Few requests have the field.
        let has_field = headers.contains_key(header::CACHE_CONTROL);
        let stated = match has_field {
            true => CacheControl::parse(headers),
            false => CacheControl::default(),
        };
        let storing = Self {
            authorization: headers.contains_key(header::AUTHORIZATION),
            no_store: stated.no_store,
            ..Self::default()
        };
        if !directives {
            return storing;
        }
        // RFC 9111 §5.4: Pragma counts only without Cache-Control
        let pragma = !has_field && pragma_no_cache(headers);
        Self {
            only_if_cached: stated.only_if_cached,
            no_cache: pragma || stated.no_cache != Scope::Nothing,
            max_age: stated.max_age,
            min_fresh: stated.min_fresh,
            max_stale: stated.max_stale,
            stale_if_error: stated.stale_if_error,
            ..storing
        }
    }

    /// RFC 9111 §5.2.1.7: the client wants only a stored answer.
    pub(crate) fn only_if_cached(&self) -> bool {
        self.only_if_cached
    }

    /// Whether the answer to another request may be too old for this one, or the answer to this one may not be shared.
    pub(crate) fn prevents_collapsing(&self) -> bool {
        self.no_store || self.no_cache || self.max_age.is_some() || self.min_fresh.is_some()
    }

    /// Whether a stored answer may be used (RFC 9111 §4).
    ///
    /// `state` is its state by its deadlines and the purges. `forbids_stale` says whether the answer's directives forbid to
    /// use it stale; it is called only if needed.
    pub(crate) fn choose(
        &self,
        life: &Life,
        state: State,
        now_ms: u64,
        forbids_stale: impl FnOnce() -> bool,
    ) -> Choice {
        let age_ms = life.age_ms(now_ms);
        let is_stale = state > State::Early;
        let asked_for = if is_stale {
            Forward::Stale
        } else {
            Forward::Request
        };
        // RFC 9111 §5.2.1.4
        if self.no_cache {
            return Choice::Ask(asked_for);
        }
        // RFC 9111 §5.2.1.1
        if self.max_age.is_some_and(|most| age_ms > millis(most)) {
            return Choice::Ask(asked_for);
        }
        if !is_stale {
            // RFC 9111 §5.2.1.3
            let left = life.lifetime_ms.saturating_sub(age_ms);
            return match state {
                _ if left < millis(self.min_fresh.unwrap_or(0)) => Choice::Ask(Forward::Request),
                State::Early => Choice::UseAndRefresh,
                _ => Choice::Use,
            };
        }
        let staleness = age_ms.saturating_sub(life.lifetime_ms);
        // RFC 9111 §5.2.1.1 and §5.2.1.3: both require a fresh answer
        if self.min_fresh.is_some() || (self.max_age.is_some() && self.max_stale.is_none()) {
            return Choice::Ask(Forward::Stale);
        }
        // RFC 5861 §3: the window is zero if the answer must not be used stale
        if state == State::WhileRevalidate {
            return Choice::UseAndRefresh;
        }
        // RFC 9111 §5.2.1.2; the answer's own directives take precedence (§4.2.4)
        let permitted = self.max_stale.is_some_and(|most| staleness <= millis(most));
        if permitted && !forbids_stale() {
            return Choice::Use;
        }
        Choice::Ask(Forward::Stale)
    }

    /// Whether a stored answer may be used in place of an error of the handler (RFC 5861 §4).
    pub(crate) fn stands_in(
        &self,
        life: &Life,
        state: State,
        now_ms: u64,
        forbids_stale: impl FnOnce() -> bool,
    ) -> bool {
        let staleness = life.age_ms(now_ms).saturating_sub(life.lifetime_ms);
        let asked = self.stale_if_error.map_or(0, millis);
        // A fresh answer that the client's directives rejected is used too, if the answer permits it in place of errors.
        let allowed = match state {
            State::Fresh | State::Early => life.sie_ms > 0,
            State::WhileRevalidate | State::IfError => staleness < life.sie_ms,
            State::Kept => false,
        };
        allowed || (staleness < asked && !forbids_stale())
    }
}

fn millis(seconds: u32) -> u64 {
    u64::from(seconds) * 1000
}

fn pragma_no_cache(headers: &HeaderMap) -> bool {
    let mut members = headers
        .get_all(header::PRAGMA)
        .iter()
        .flat_map(|line| line.as_bytes().split(|byte| *byte == b','));
    members.any(|member| member.trim_ascii().eq_ignore_ascii_case(b"no-cache"))
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    /// An answer that is 30 of 100 seconds old at `THEN`.
    fn life() -> Life {
        Life {
            born_ms: 1_000_000,
            lifetime_ms: 100_000,
            initial_age_ms: 10_000,
            swr_ms: 20_000,
            sie_ms: 40_000,
            ..Life::default()
        }
    }

    const THEN: u64 = 1_020_000;
    /// Ten seconds stale.
    const STALE: u64 = 1_100_000;
    /// Thirty seconds stale.
    const STALER: u64 = 1_120_000;

    fn state(now_ms: u64) -> State {
        match now_ms {
            THEN => State::Fresh,
            STALE => State::WhileRevalidate,
            STALER => State::IfError,
            _ => State::Kept,
        }
    }

    fn demands(name: &'static str, value: &'static str) -> RequestDirectives {
        let mut headers = HeaderMap::new();
        headers.insert(name, HeaderValue::from_static(value));
        RequestDirectives::of(&headers, true)
    }

    fn said(value: &'static str) -> RequestDirectives {
        demands("cache-control", value)
    }

    #[test]
    fn a_client_may_want_something_fresher() {
        use Choice::{Ask, Use, UseAndRefresh};
        use Forward::{Request, Stale};
        for (value, fresh, stale, staler) in [
            ("x", Use, UseAndRefresh, Ask(Stale)),
            ("no-cache", Ask(Request), Ask(Stale), Ask(Stale)),
            ("no-cache=\"x\"", Ask(Request), Ask(Stale), Ask(Stale)),
            ("max-age=0", Ask(Request), Ask(Stale), Ask(Stale)),
            ("max-age=29", Ask(Request), Ask(Stale), Ask(Stale)),
            ("max-age=30", Use, Ask(Stale), Ask(Stale)),
            ("max-age=oops", Ask(Request), Ask(Stale), Ask(Stale)),
            ("min-fresh=70", Use, Ask(Stale), Ask(Stale)),
            ("min-fresh=71", Ask(Request), Ask(Stale), Ask(Stale)),
            ("max-stale", Use, UseAndRefresh, Use),
            ("max-stale=29", Use, UseAndRefresh, Ask(Stale)),
            ("max-stale=30", Use, UseAndRefresh, Use),
            ("max-stale=oops", Use, UseAndRefresh, Ask(Stale)),
        ] {
            let demands = said(value);
            for (now_ms, choice) in [(THEN, fresh), (STALE, stale), (STALER, staler)] {
                assert_eq!(
                    demands.choose(&life(), state(now_ms), now_ms, || false),
                    choice,
                    "{value} {now_ms}"
                );
            }
        }
        let pragma = demands("pragma", "x, No-Cache");
        assert_eq!(
            pragma.choose(&life(), State::Fresh, THEN, || false),
            Ask(Request)
        );
    }

    #[test]
    fn what_forbids_staleness_is_stronger_than_the_client() {
        let choice = said("max-stale").choose(&life(), State::IfError, STALER, || true);
        assert_eq!(choice, Choice::Ask(Forward::Stale));
        assert!(said("stale-if-error=1000").stands_in(
            &life(),
            State::Kept,
            STALER + 60_000,
            || false
        ));
        assert!(!said("stale-if-error=1000").stands_in(
            &life(),
            State::Kept,
            STALER + 60_000,
            || true
        ));
    }

    #[test]
    fn a_stale_answer_stands_in_for_an_error_while_it_may() {
        let none = RequestDirectives::default();
        assert!(none.stands_in(&life(), State::IfError, STALER, || false));
        assert!(none.stands_in(&life(), State::WhileRevalidate, STALE, || false));
        assert!(!none.stands_in(&life(), State::Kept, STALER + 10_000, || false));
    }

    #[test]
    fn without_directives_only_storing_is_the_clients() {
        let mut headers = HeaderMap::new();
        let all = "no-cache, max-age=0, only-if-cached, min-fresh=1000, no-store, max-stale";
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static(all));
        let demands = RequestDirectives::of(&headers, false);
        assert_eq!(
            demands.choose(&life(), State::Fresh, THEN, || false),
            Choice::Use
        );
        assert_eq!(
            demands.choose(&life(), State::IfError, STALER, || false),
            Choice::Ask(Forward::Stale)
        );
        assert!(demands.no_store && !demands.only_if_cached());
    }
}
