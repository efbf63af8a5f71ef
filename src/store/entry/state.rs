//! Whether an entry may be used, and in which cases.

use super::lifetime::Life;

/// In which cases a stored entry may be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum State {
    /// Always.
    Fresh,
    /// Always, but it is time to make a new one.
    Early,
    /// While a new one is being made (RFC 5861 §3).
    WhileRevalidate,
    /// When no new one can be made (RFC 5861 §4).
    IfError,
    /// Only after it was validated.
    Kept,
}

/// Whether an entry was purged, as the purge log says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It was not purged.
    Holds,
    /// It was made stale at this time, in Unix milliseconds of the server.
    StaleSince(u64),
    /// It must not be used.
    Gone,
}

/// Judges an entry by its deadlines, by the purge log, and by chance; `None` if it may not be used.
///
/// `eagerness` is the setting (0: never early, 1: usual) times the negative logarithm of a random number that is uniform
/// between 0 and 1. The longer an entry takes to make and the nearer its end is, the more likely a reader makes it anew
/// early, so that one reader does so before all have to (Vattani et al., "Optimal probabilistic cache stampede
/// prevention", 2015).
pub(crate) fn judge(life: &Life, verdict: Verdict, now_ms: u64, eagerness: f64) -> Option<State> {
    let age_ms = life.age_ms(now_ms);
    let left_ms = life.lifetime_ms.saturating_sub(age_ms);
    let overdue_ms = age_ms.saturating_sub(life.lifetime_ms);
    let stale_ms = match verdict {
        Verdict::Gone => return None,
        Verdict::Holds if left_ms > 0 => {
            let early = life.cost_ms as f64 * eagerness >= left_ms as f64;
            return Some(if early { State::Early } else { State::Fresh });
        }
        Verdict::Holds => overdue_ms,
        Verdict::StaleSince(at_ms) => overdue_ms.max(now_ms.saturating_sub(at_ms)),
    };
    if stale_ms < life.swr_ms {
        Some(State::WhileRevalidate)
    } else if stale_ms < life.sie_ms {
        Some(State::IfError)
    } else {
        (stale_ms < life.keep_ms).then_some(State::Kept)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn life() -> Life {
        Life {
            born_ms: 10_000,
            lifetime_ms: 100,
            initial_age_ms: 20,
            swr_ms: 10,
            sie_ms: 30,
            keep_ms: 50,
            cost_ms: 4,
            ..Life::default()
        }
    }

    fn at(now_ms: u64) -> Option<State> {
        judge(&life(), Verdict::Holds, now_ms, 0.0)
    }

    #[test]
    fn it_is_used_as_long_as_its_deadlines_say() {
        for (now_ms, state) in [
            (0, Some(State::Fresh)),
            (10_079, Some(State::Fresh)),
            (10_080, Some(State::WhileRevalidate)),
            (10_089, Some(State::WhileRevalidate)),
            (10_090, Some(State::IfError)),
            (10_109, Some(State::IfError)),
            (10_110, Some(State::Kept)),
            (10_129, Some(State::Kept)),
            (10_130, None),
            (u64::MAX, None),
        ] {
            assert_eq!(at(now_ms), state, "{now_ms}");
        }
    }

    #[test]
    fn a_soft_purge_is_the_end_of_freshness() {
        let judge = |at_ms, now_ms| judge(&life(), Verdict::StaleSince(at_ms), now_ms, 0.0);
        assert_eq!(judge(10_000, 10_000), Some(State::WhileRevalidate));
        assert_eq!(judge(10_000, 10_010), Some(State::IfError));
        assert_eq!(judge(10_000, 10_050), None);
        // A soft purge never makes an entry usable for longer.
        assert_eq!(judge(10_099, 10_100), Some(State::IfError));
        // The server's clock may be ahead.
        assert_eq!(judge(20_000, 10_000), Some(State::WhileRevalidate));
        assert_eq!(super::judge(&life(), Verdict::Gone, 10_000, 0.0), None);
    }

    #[test]
    fn the_dearer_and_the_older_the_earlier() {
        let judge = |now_ms, eagerness| judge(&life(), Verdict::Holds, now_ms, eagerness);
        assert_eq!(judge(10_060, 4.9), Some(State::Fresh));
        assert_eq!(judge(10_060, 5.0), Some(State::Early));
        assert_eq!(judge(10_076, 1.0), Some(State::Early));
        assert_eq!(judge(10_080, 9.0), Some(State::WhileRevalidate));
    }
}
