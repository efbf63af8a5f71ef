//! Dates in header fields (RFC 9110 §5.6.7).

/// Parses a date in any of the three formats, to seconds of Unix time. Only letter case may differ from the grammar.
///
/// `now`, in seconds of Unix time, decides the century of the two-digit years of RFC 850.
pub(crate) fn parse(text: &[u8], now: i64) -> Option<i64> {
    let text = std::str::from_utf8(text).ok()?;
    if !text.is_ascii() {
        return None;
    }
    let lower = text.to_ascii_lowercase();
    imf_fixdate(&lower)
        .or_else(|| rfc850(&lower, now))
        .or_else(|| asctime(&lower))
}

/// Writes a date as IMF-fixdate: `Sun, 06 Nov 1994 08:49:37 GMT`.
pub(crate) fn format(unix_seconds: i64) -> String {
    // The years 1970 to 9999: the format has four digits, and Unix time begins in 1970.
    let unix_seconds = unix_seconds.clamp(0, 253_402_300_799);
    let (days, second) = (unix_seconds / DAY, unix_seconds % DAY);
    let (year, month, day) = civil_from_days(days);
    let weekday = WEEKDAYS[(days + 4).rem_euclid(7) as usize];
    format!(
        "{}, {day:02} {} {year:04} {:02}:{:02}:{:02} GMT",
        title(&weekday[..3]),
        title(MONTHS[month as usize - 1]),
        second / 3600,
        second / 60 % 60,
        second % 60,
    )
}

/// `sun, 06 nov 1994 08:49:37 gmt`
fn imf_fixdate(text: &str) -> Option<i64> {
    let (weekday, rest) = text.split_once(", ")?;
    WEEKDAYS.iter().find(|name| &name[..3] == weekday)?;
    let [day, month, year, time, "gmt"] = words(rest)? else {
        return None;
    };
    unix(
        digits(year, 4)?,
        month_number(month)?,
        digits(day, 2)?,
        time,
    )
}

/// `sunday, 06-nov-94 08:49:37 gmt`
fn rfc850(text: &str, now: i64) -> Option<i64> {
    let (weekday, rest) = text.split_once(", ")?;
    WEEKDAYS.iter().find(|name| **name == weekday)?;
    let [date, time, "gmt"] = words(rest)? else {
        return None;
    };
    let mut parts = date.split('-');
    let (day, month, year) = (parts.next()?, parts.next()?, parts.next()?);
    if parts.next().is_some() {
        return None;
    }
    let (day, month, year) = (digits(day, 2)?, month_number(month)?, digits(year, 2)?);
    let (this_year, _, _) = civil_from_days(now.div_euclid(DAY));
    let year = this_year - this_year.rem_euclid(100) + year;
    // RFC 9110 §5.6.7: more than 50 years in the future means the most recent past year with the same last digits
    let latest = now + 50 * 366 * DAY;
    let candidates = [year + 100, year, year - 100];
    candidates
        .into_iter()
        .filter_map(|year| unix(year, month, day, time))
        .find(|date| *date <= latest)
}

/// `sun nov  6 08:49:37 1994`
fn asctime(text: &str) -> Option<i64> {
    let (weekday, rest) = text.split_once(' ')?;
    WEEKDAYS.iter().find(|name| &name[..3] == weekday)?;
    let (month, rest) = rest.split_once(' ')?;
    // The day of the month has two places, the first of which may be blank.
    let (day, rest) = (rest.get(..2)?, rest.get(2..)?.strip_prefix(' ')?);
    let day = match day.strip_prefix(' ') {
        Some(digit) => digits(digit, 1)?,
        None => digits(day, 2)?,
    };
    let (time, year) = rest.split_once(' ')?;
    unix(digits(year, 4)?, month_number(month)?, day, time)
}

/// Exactly `N` words with one space between them.
fn words<const N: usize>(text: &str) -> Option<[&str; N]> {
    let words: Vec<&str> = text.split(' ').collect();
    words.try_into().ok()
}

fn unix(year: i64, month: i64, day: i64, time: &str) -> Option<i64> {
    let bytes = time.as_bytes();
    if bytes.len() != 8 || bytes[2] != b':' || bytes[5] != b':' {
        return None;
    }
    let (hour, minute, second) = (
        digits(&time[..2], 2)?,
        digits(&time[3..5], 2)?,
        digits(&time[6..], 2)?,
    );
    // The grammar allows a leap second.
    let real =
        (1..=days_in(year, month)).contains(&day) && hour < 24 && minute < 60 && second <= 60;
    real.then(|| days_from_civil(year, month, day) * DAY + hour * 3600 + minute * 60 + second)
}

fn digits(text: &str, count: usize) -> Option<i64> {
    if text.len() != count || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    text.parse().ok()
}

fn month_number(name: &str) -> Option<i64> {
    let index = MONTHS.iter().position(|month| *month == name)?;
    i64::try_from(index + 1).ok()
}

fn days_in(year: i64, month: i64) -> i64 {
    let (next_year, next_month) = if month == 12 {
        (year + 1, 1)
    } else {
        (year, month + 1)
    };
    days_from_civil(next_year, next_month, 1) - days_from_civil(year, month, 1)
}

/// Days since 1970-01-01. Years are counted from March, so that the leap day is the last of its year.
fn days_from_civil(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - 719_468
}

/// The year, month and day of a number of days since 1970-01-01.
fn civil_from_days(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let (era, day_of_era) = (days.div_euclid(146_097), days.rem_euclid(146_097));
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = (month_from_march + 2) % 12 + 1;
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    (year, month, day)
}

fn title(lower: &str) -> String {
    let (first, rest) = lower.split_at(1);
    first.to_ascii_uppercase() + rest
}

const DAY: i64 = 86_400;

const WEEKDAYS: [&str; 7] = [
    "sunday",
    "monday",
    "tuesday",
    "wednesday",
    "thursday",
    "friday",
    "saturday",
];

const MONTHS: [&str; 12] = [
    "jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec",
];

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// 2026-11-22
    const NOW: i64 = 1_795_305_600;

    fn read(text: &str) -> Option<i64> {
        parse(text.as_bytes(), NOW)
    }

    #[test]
    fn three_formats_say_the_same() {
        for text in [
            "Sun, 06 Nov 1994 08:49:37 GMT",
            "Sunday, 06-Nov-94 08:49:37 GMT",
            "Sun Nov  6 08:49:37 1994",
            "sUN, 06 nOV 1994 08:49:37 gmt",
        ] {
            assert_eq!(read(text), Some(784_111_777), "{text}");
        }
        assert_eq!(
            read("Thu Aug 18 02:01:18 2050"),
            read("Thu, 18 Aug 2050 02:01:18 GMT")
        );
        assert_eq!(
            read("Tue, 29 Feb 2028 00:00:60 GMT"),
            read("Wed, 01 Mar 2028 00:00:00 GMT").map(|t| t - 86_340)
        );
    }

    #[test]
    fn anything_else_is_no_date() {
        for text in [
            "",
            "0",
            "Thu, 18 Aug 50 02:01:18 GMT",
            "Thu 18 Aug 2050 02:01:18 GMT",
            "Thu, 18 Aug 2050 02.01.18 GMT",
            "Thu, 18 Aug 2050 2:01:18 GMT",
            "Thu, 18  Aug 2050 02:01:18 GMT",
            "Thu, 18 Aug 2050 02:01:18 UTC",
            "Thu, 18 Aug 2050 02:01:18",
            "Thu, 18-Aug-2050 02:01:18 GMT",
            "Thu, 18 Aug 2050 02:01:18 GMT ",
            "Thu, 31 Jun 2050 02:01:18 GMT",
            "Wed, 29 Feb 2027 02:01:18 GMT",
            "Thu, 18 Aug 2050 24:01:18 GMT",
            "Thu, +8 Aug 2050 02:01:18 GMT",
            "Thx, 18 Aug 2050 02:01:18 GMT",
            "Thu Aug 8 02:01:18 2050",
            "Thursday, 18-Aug-50-1 02:01:18 GMT",
            "Thu, 18 Aug 2050 02:01:1\u{e9}GMT",
        ] {
            assert_eq!(read(text), None, "{text}");
        }
    }

    #[test]
    fn a_two_digit_year_is_at_most_fifty_years_ahead() {
        assert_eq!(
            read("Thursday, 18-Aug-50 02:01:18 GMT"),
            read("Thu, 18 Aug 2050 02:01:18 GMT")
        );
        assert_eq!(
            read("Friday, 18-Aug-89 02:01:18 GMT"),
            read("Fri, 18 Aug 1989 02:01:18 GMT")
        );
        // Said at the end of a century, of the next one.
        let late = parse(b"Fri, 01 Jan 2099 00:00:00 GMT", NOW).expect("a date");
        assert_eq!(
            parse(b"Sunday, 06-Nov-05 08:49:37 GMT", late),
            read("Fri, 06 Nov 2105 08:49:37 GMT")
        );
    }

    #[test]
    fn dates_are_written_as_imf_fixdate() {
        assert_eq!(format(784_111_777), "Sun, 06 Nov 1994 08:49:37 GMT");
        assert_eq!(format(0), "Thu, 01 Jan 1970 00:00:00 GMT");
        assert_eq!(format(i64::MAX), "Fri, 31 Dec 9999 23:59:59 GMT");
        assert_eq!(format(-1), format(0));
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(seconds in 0i64..253_402_300_800) {
            prop_assert_eq!(parse(format(seconds).as_bytes(), NOW), Some(seconds));
        }

        #[test]
        fn nothing_panics(text in proptest::collection::vec(any::<u8>(), 0..40), now in any::<u32>()) {
            let _ = parse(&text, now.into());
        }

        #[test]
        fn nothing_like_a_date_panics(text in "[a-z]{3,9},? [ 0-9a-z-]{2,12}[ 0-9:.]{5,20}(GMT)?") {
            let _ = parse(text.as_bytes(), NOW);
        }
    }
}
