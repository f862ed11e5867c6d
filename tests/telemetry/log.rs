//! The log of a test that has its own process.

use std::fmt::{self, Write as _};
use std::sync::{Arc, Mutex};

use tracing::field::{Field, Visit};
use tracing::{Event, Subscriber};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt};

use crate::support::waiting::found;

/// The log events of all threads.
pub struct Log(Arc<Mutex<Vec<String>>>);

impl Log {
    /// Installs itself as the subscriber of the process.
    pub fn install() -> Self {
        let lines = Arc::default();
        let subscriber = tracing_subscriber::registry().with(Lines(Arc::clone(&lines)));
        tracing::subscriber::set_global_default(subscriber).expect("the only subscriber");
        Log(lines)
    }

    /// Returns the log so far, as `LEVEL target: message`.
    pub fn lines(&self) -> Vec<String> {
        self.0.lock().expect("no panic").clone()
    }
}

/// Waits for an effect of another thread.
pub async fn until<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    found(what, async || look().ok_or_else(|| "nothing".to_owned())).await
}

struct Lines(Arc<Mutex<Vec<String>>>);

struct Line(String);

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        if field.name() == "message" {
            let _ = write!(self.0, "{value:?}");
        }
    }
}

impl<S: Subscriber> Layer<S> for Lines {
    fn on_event(&self, event: &Event<'_>, _context: Context<'_, S>) {
        let metadata = event.metadata();
        if *metadata.level() > tracing::Level::INFO {
            return;
        }
        let mut line = Line(format!("{} {}: ", metadata.level(), metadata.target()));
        event.record(&mut line);
        self.0.lock().expect("no panic").push(line.0);
    }
}
