//! The printed table.

use std::time::Duration;

use crate::row::Row;

pub(crate) fn head() {
    println!(
        "64 visitors; times in ms. slowest: a request with one command / with two. stall: the longest delay by the machine \
         / of what\nneeds no Redis. open: p99 minus that of the bare handler while the breaker was open. back: from the end \
         of the fault to the\nlast request that failed. down: how often the handle began to count Redis as down. log: WARN \
         and ERROR lines of this crate\n/ of fred. RSS: before and after.\n"
    );
    println!(
        "{:<22} {:>6} {:>6} {:>6} {:>9} {:>9} {:>6} {:>6} {:>6} {:>6} {:>7} {:>5} {:>6} {:>4} {:>8} {:>11}  promises",
        "fault",
        "asked",
        "p50",
        "p99",
        "slowest",
        "stall",
        "open",
        "bypass",
        "local",
        "limit",
        "session",
        "lost",
        "back",
        "down",
        "log",
        "RSS MiB"
    );
    println!(
        "{:<22} {:>6} {:>6} {:>6} {:>9} {:>9} {:>6} {:>6} {:>6} {:>6} {:>7}",
        "", "", "", "", "", "", "", "", "", "503", "503"
    );
}

/// Prints one row. True when a promise was broken.
pub(crate) fn line(row: &Row) -> bool {
    let slowest = row
        .slowest
        .map(|time| format!("{:.0}", millis(time)))
        .join("/");
    let open = row.open.map_or("-".into(), |(open, bare)| {
        format!("{:.2}", millis(open.saturating_sub(bare)))
    });
    let memory = format!(
        "{} -> {}",
        row.usage.0.memory / 1024,
        row.usage.1.memory / 1024
    );
    let misses = row.misses();
    let mut verdict = if misses.is_empty() {
        "PASS".to_owned()
    } else {
        format!("MISS: {}", misses.join(", "))
    };
    if let Some(healthy) = row.healthy {
        verdict += &format!(" (other shards {:.0} %)", healthy * 100.0);
    }
    println!(
        "{:<22} {:>6} {:>6.2} {:>6.1} {:>9} {:>9} {:>6} {:>6} {:>6} {:>6} {:>7} {:>5} {:>6.0} {:>4} {:>8} {:>11}  {verdict}",
        row.expected.name,
        row.requests,
        millis(row.p50),
        millis(row.p99),
        slowest,
        format!("{:.0}/{:.0}", millis(row.held_up), millis(row.stall)),
        open,
        row.bypassed,
        row.limited_locally,
        row.limits_refused,
        row.sessions_refused,
        row.sessions_lost,
        millis(row.recovery),
        row.downs,
        row.lines.to_string(),
        memory,
    );
    !misses.is_empty()
}

pub(crate) fn foot(missed: bool) {
    let verdict = if missed {
        "some promises were broken"
    } else {
        "all promises were kept"
    };
    println!("\n{verdict}");
}

fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}
