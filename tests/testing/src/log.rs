//! Collects the events of `tracing`.

use std::fmt::Debug;
use std::sync::{Arc, Mutex};
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Metadata, Subscriber};

struct Collector {
    level: Level,
    lines: Arc<Mutex<Vec<String>>>,
}

struct Fields(String);

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.0.push_str(&format!("{field} = {value:?}; "));
    }
}

impl Subscriber for Collector {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        *metadata.level() == self.level && metadata.target().starts_with("clipseg")
    }

    fn event(&self, event: &Event<'_>) {
        let mut fields = Fields(String::new());
        event.record(&mut fields);
        self.lines.lock().unwrap().push(fields.0);
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}
    fn record_follows_from(&self, _: &Id, _: &Id) {}
    fn enter(&self, _: &Id) {}
    fn exit(&self, _: &Id) {}
}

/// Returns the result of `action` and what this thread logged meanwhile at exactly `level`, one line
/// of fields for each event. Only events of this workspace's crates are collected.
pub fn logged<T>(level: Level, action: impl FnOnce() -> T) -> (T, Vec<String>) {
    let lines = Arc::new(Mutex::new(Vec::new()));
    let collector = Collector {
        level,
        lines: Arc::clone(&lines),
    };
    let result = tracing::subscriber::with_default(collector, action);
    let lines = std::mem::take(&mut *lines.lock().unwrap());
    (result, lines)
}

/// Returns the result of `action` and the warnings that this thread logged meanwhile.
pub fn warnings_of<T>(action: impl FnOnce() -> T) -> (T, Vec<String>) {
    logged(Level::WARN, action)
}
