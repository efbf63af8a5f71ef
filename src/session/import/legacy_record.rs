//! A record of tower-sessions as it is stored in Redis.

use std::collections::HashMap;

use serde_json::Value as Json;

use crate::session::store::records::unix_millis;

/// The values of an old record that is the one asked for and has not ended: an array of the id, the values, and the end
/// as year, day of the year, hour, minute, second, nanosecond and the offset from UTC in hours, minutes and seconds.
pub(crate) fn parse(bytes: &[u8], id: i128) -> Option<HashMap<String, Json>> {
    type Time = (i64, i64, i64, i64, i64, i64, i64, i64, i64);
    let (found, values, end): (i128, HashMap<String, Json>, Time) =
        rmp_serde::from_slice(bytes).ok()?;
    let (year, day, hour, minute, second, _, hours, minutes, seconds) = end;
    // Days since 1970 in the proleptic Gregorian calendar.
    let years = year.checked_sub(1)?;
    let leaps = years.div_euclid(4) - years.div_euclid(100) + years.div_euclid(400);
    let days = years
        .checked_mul(365)?
        .checked_add(leaps)?
        .checked_add(day)?;
    let local = days
        .checked_sub(EPOCH)?
        .checked_mul(86_400)?
        .checked_add(hour.checked_mul(3600)?)?
        .checked_add(minute.checked_mul(60)?)?
        .checked_add(second)?;
    let offset = hours
        .checked_mul(3600)?
        .checked_add(minutes.checked_mul(60)?)?;
    let end = local.checked_sub(offset.checked_add(seconds)?)?;
    (found == id && end.checked_mul(1000)? > unix_millis()).then_some(values)
}

/// The day before 1 January 1970, counted from the year 1.
const EPOCH: i64 = 719_163;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn record(id: i128, year: i64, day: i64) -> Vec<u8> {
        let values = HashMap::from([("a", 1)]);
        rmp_serde::to_vec(&(id, values, (year, day, 0, 0, 0, 0, 0, 0, 0))).unwrap()
    }

    #[test]
    fn only_the_record_asked_for_counts_and_only_while_it_lives() {
        assert_eq!(parse(&record(7, 3000, 1), 7).unwrap()["a"], 1);
        assert!(parse(&record(7, 3000, 1), 8).is_none());
        assert!(parse(&record(7, 2020, 366), 7).is_none());
        assert!(parse(&record(7, i64::MAX, i64::MAX), 7).is_none());
        assert!(parse(&record(7, i64::MIN, 1), 7).is_none());
        assert!(parse(b"", 7).is_none());
    }

    proptest! {
        #[test]
        fn nothing_stored_makes_it_panic(
            bytes in proptest::collection::vec(any::<u8>(), 0..200),
            end in proptest::array::uniform9(any::<i64>()),
        ) {
            let _ = parse(&bytes, 7);
            let _ = parse(&rmp_serde::to_vec(&(7_i128, HashMap::<String, u8>::new(), end)).unwrap(), 7);
        }
    }
}
