//! The log lines of this process: WARN and ERROR, of this crate and of fred.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use tracing::{
    Event, Level, Metadata, Subscriber,
    field::{Field, Visit},
    level_filters::LevelFilter,
    span,
};

/// The lines since the last time.
#[derive(Default)]
pub(crate) struct Lines {
    /// How many lines of each kind. All lines of one place in the code are of one kind.
    kinds: BTreeMap<String, Kind>,
}

#[derive(Clone, Copy)]
struct Kind {
    lines: usize,
    is_own: bool,
}

impl Lines {
    /// Counts the lines of the whole process from now on.
    pub(crate) fn watch() {
        let own = tracing::subscriber::set_global_default(Own);
        own.expect("no other subscriber");
        log::set_logger(&Freds).expect("no other logger");
        log::set_max_level(log::LevelFilter::Warn);
    }

    /// The lines since the last call.
    pub(crate) fn take() -> Self {
        std::mem::take(&mut LINES.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn add(level: impl fmt::Display, text: &str, is_own: bool) {
        let kind = format!("{level} {text}");
        let mut all = LINES.lock().unwrap_or_else(PoisonError::into_inner);
        let kind = all.kinds.entry(kind).or_insert(Kind { lines: 0, is_own });
        kind.lines += 1;
    }

    pub(crate) fn add_all(&mut self, more: Self) {
        for (name, kind) in more.kinds {
            let known = self.kinds.entry(name).or_insert(Kind { lines: 0, ..kind });
            known.lines += kind.lines;
        }
    }

    fn count(&self, wanted: impl Fn(&Kind) -> bool) -> usize {
        let kinds = self.kinds.values().filter(|kind| wanted(kind));
        kinds.map(|kind| kind.lines).sum()
    }

    /// The lines of this crate.
    pub(crate) fn own(&self) -> usize {
        self.count(|kind| kind.is_own)
    }

    /// The lines of fred.
    pub(crate) fn of_fred(&self) -> usize {
        self.count(|kind| !kind.is_own)
    }

    /// The kinds of this crate that came more often than once a second in `time`, each with its number of lines.
    pub(crate) fn too_often(&self, time: Duration) -> Vec<String> {
        let most = time.as_secs_f64().ceil() as usize + 1;
        let kinds = self.kinds.iter();
        let often = kinds.filter(|(_, kind)| kind.is_own && kind.lines > most);
        often
            .map(|(name, kind)| format!("{} lines of \"{name}\"", kind.lines))
            .collect()
    }

    /// The kinds and the number of their lines, the most frequent first.
    pub(crate) fn by_kind(&self) -> Vec<(&str, usize)> {
        let kinds = self.kinds.iter();
        let mut kinds: Vec<_> = kinds
            .map(|(name, kind)| (name.as_str(), kind.lines))
            .collect();
        kinds.sort_by_key(|(_, lines)| std::cmp::Reverse(*lines));
        kinds
    }
}

impl fmt::Display for Lines {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.own(), self.of_fred())
    }
}

/// Takes the lines of this crate.
struct Own;

impl Subscriber for Own {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        *metadata.level() <= Level::WARN
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        Some(LevelFilter::WARN)
    }

    fn event(&self, event: &Event<'_>) {
        let mut message = Message(String::new());
        event.record(&mut message);
        let metadata = event.metadata();
        let is_own = metadata.target().starts_with("tower_fred");
        Lines::add(metadata.level(), &message.0, is_own);
    }

    fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
        span::Id::from_u64(1)
    }

    fn record(&self, _: &span::Id, _: &span::Record<'_>) {}
    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}
    fn enter(&self, _: &span::Id) {}
    fn exit(&self, _: &span::Id) {}
}

/// The message of an event, without its fields.
struct Message(String);

impl Visit for Message {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        if field.name() == "message" {
            self.0 = format!("{value:?}");
        }
    }
}

/// Takes the lines of fred, which are written with the crate `log`.
struct Freds;

impl log::Log for Freds {
    fn enabled(&self, metadata: &log::Metadata<'_>) -> bool {
        metadata.level() <= log::Level::Warn
    }

    fn log(&self, record: &log::Record<'_>) {
        if self.enabled(record.metadata()) {
            let line = record.line().unwrap_or(0);
            let place = format!("{}:{line}", record.target());
            Lines::add(record.level(), &place, false);
        }
    }

    fn flush(&self) {}
}

static LINES: Mutex<Lines> = Mutex::new(Lines {
    kinds: BTreeMap::new(),
});
