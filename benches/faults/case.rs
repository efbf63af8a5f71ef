//! One row of the second table: a fault with a load of its own, what was seen, and which promises were not kept.

use std::time::{Duration, Instant};

use crate::{
    logs::Lines,
    process::{held_up, panics},
};

pub(crate) struct Case {
    name: &'static str,
    begun: Instant,
    panics: usize,
    seen: Vec<String>,
    misses: Vec<String>,
    lines: Lines,
}

impl Case {
    /// Counts log lines and panics from now on.
    pub(crate) fn begin(name: &'static str) -> Self {
        held_up();
        Lines::take();
        Self {
            name,
            begun: Instant::now(),
            panics: panics(),
            seen: Vec::new(),
            misses: Vec::new(),
            lines: Lines::default(),
        }
    }

    /// Tells what was seen, for the table.
    pub(crate) fn saw(&mut self, what: impl Into<String>) {
        self.seen.push(what.into());
    }

    /// Tells what was seen if `is_kept`, and otherwise that it breaks a promise.
    pub(crate) fn promise(&mut self, is_kept: bool, what: impl Into<String>) {
        let told = if is_kept {
            &mut self.seen
        } else {
            &mut self.misses
        };
        told.push(what.into());
    }

    /// A request took `took`: the promise is `most`, and what the machine delayed. True when it is kept.
    pub(crate) fn bound(&mut self, what: &str, took: Duration, most: Duration) -> bool {
        let is_kept = took <= most + held_up() + TICK;
        let most = most.as_millis();
        let took = took.as_millis();
        self.promise(is_kept, format!("{what} {took} of {most} ms"));
        is_kept
    }

    /// The log lines until now.
    pub(crate) fn lines(&mut self) -> &Lines {
        self.lines.add_all(Lines::take());
        &self.lines
    }

    /// Checks the log lines and the panics, and prints the row. True when a promise was broken.
    pub(crate) fn end(mut self) -> bool {
        let span = self.begun.elapsed();
        let too_often = self.lines().too_often(span);
        self.misses.extend(too_often);
        let panics = panics() - self.panics;
        if panics > 0 {
            self.misses.push(format!("{panics} panics"));
        }
        let verdict = if self.misses.is_empty() {
            "PASS".to_owned()
        } else {
            format!("MISS: {}", self.misses.join(", "))
        };
        let seen = self.seen.join(", ");
        println!(
            "{:<22} {:>5.1} {:>8}  {verdict} ({seen})",
            self.name,
            span.as_secs_f64(),
            self.lines.to_string(),
        );
        for (kind, lines) in self.lines.by_kind().into_iter().take(MOST_KINDS) {
            println!("{:<22} {lines:>14}  {kind}", "");
        }
        !self.misses.is_empty()
    }
}

/// The head of the second table.
pub(crate) fn head() {
    println!(
        "\n{:<22} {:>5} {:>8}  promises; the kinds of log lines",
        "fault", "s", "log"
    );
}

const TICK: Duration = Duration::from_millis(5);
/// How many kinds of log lines are printed.
const MOST_KINDS: usize = 4;
