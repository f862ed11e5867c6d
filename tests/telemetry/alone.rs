//! Providers are the process's, and so is the log: one test at a time has them.

use std::fmt::{self, Write as _};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::{Duration, Instant};

use tokio::sync::MutexGuard;
use tracing::field::{Field, Visit};
use tracing::{Event, Subscriber};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt};

static TURN: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());
static LOG: OnceLock<Arc<Mutex<Vec<String>>>> = OnceLock::new();

/// The turn of one test.
pub struct Alone {
    log: Arc<Mutex<Vec<String>>>,
    _turn: MutexGuard<'static, ()>,
}

/// Waits for its turn; the log is empty then.
pub async fn alone() -> Alone {
    let turn = TURN.lock().await;
    let log = LOG.get_or_init(|| {
        let lines = Arc::default();
        let subscriber = tracing_subscriber::registry().with(Lines(Arc::clone(&lines)));
        tracing::subscriber::set_global_default(subscriber).expect("nobody else sets one");
        lines
    });
    log.lock().expect("no panic").clear();
    Alone {
        log: Arc::clone(log),
        _turn: turn,
    }
}

impl Alone {
    /// What poolscope and OpenTelemetry logged so far, on any thread, as `LEVEL target: message`.
    pub fn log(&self) -> Vec<String> {
        self.log.lock().expect("no panic").clone()
    }
}

/// Waits for something that another thread does.
///
/// # Panics
/// When it has not come a minute later.
pub async fn until<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < deadline, "not within a minute: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
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
