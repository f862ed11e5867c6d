//! Captures the crate's log lines in memory.
//!
//! Connections log from the runtime's threads, so one subscriber serves the whole process. Each test
//! looks for its own lines.

use std::fmt::{Debug, Write as _};
use std::io;
use std::sync::{Arc, Mutex, OnceLock};

use tracing::field::{Field, Visit};
use tracing::level_filters::LevelFilter;
use tracing::{Event, Subscriber};
use tracing_subscriber::layer::{Context, SubscriberExt as _};
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{Layer, fmt};

#[derive(Clone, Default)]
pub struct Log {
    lines: Arc<Mutex<Vec<u8>>>,
    ours: Ours,
}

pub fn capture() -> Log {
    static LOG: OnceLock<Log> = OnceLock::new();
    LOG.get_or_init(|| {
        let log = Log::default();
        let writer = log.clone();
        let lines = fmt::layer().with_ansi(false);
        tracing_subscriber::registry()
            .with(
                lines
                    .with_writer(move || writer.clone())
                    .with_filter(LevelFilter::DEBUG),
            )
            .with(log.ours.clone())
            .init();
        log
    })
    .clone()
}

impl Log {
    pub fn lines_with(&self, text: &str) -> Vec<String> {
        let bytes = self.lines.lock().unwrap();
        let all = String::from_utf8_lossy(&bytes);
        all.lines()
            .filter(|line| line.contains(text))
            .map(str::to_owned)
            .collect()
    }

    /// The crate's own events of every level, as one line each that begins with the target.
    pub fn ours(&self) -> Vec<String> {
        self.ours.0.lock().unwrap().clone()
    }
}

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.lines.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Keeps the crate's own events.
#[derive(Clone, Default)]
struct Ours(Arc<Mutex<Vec<String>>>);

impl<S: Subscriber> Layer<S> for Ours {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let target = event.metadata().target();
        if target.starts_with("poolscope") {
            let mut text = Text(target.to_owned());
            event.record(&mut text);
            self.0.lock().unwrap().push(text.0);
        }
    }
}

/// The fields of an event, concatenated.
struct Text(String);

impl Visit for Text {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        let _ = write!(self.0, " {}={value:?}", field.name());
    }
}
