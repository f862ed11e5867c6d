//! The end of exporting: sends the remaining items within a deadline, and returns those that were not sent.

use std::fmt;
use std::time::{Duration, Instant};

use tokio::time::timeout_at;

use super::pipeline::Pipeline;
use crate::telemetry::exports::{Exports, in_words};

/// The items that could not be sent at the end, or by a flush.
#[non_exhaustive]
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Unsent {
    /// Spans.
    pub spans: u64,
    /// Data points of metrics.
    pub data_points: u64,
    /// Log records.
    pub log_records: u64,
    /// The cause; `None` if everything was sent.
    pub reason: Option<String>,
}

impl Unsent {
    /// Returns whether everything was sent.
    #[must_use]
    pub fn is_none(&self) -> bool {
        self.counts() == [0; 3]
    }

    /// Returns the items that were lost since `before`, and those that are `pending`.
    pub(super) fn since(before: [u64; 3], pending: [u64; 3], exports: &Exports) -> Self {
        let now = lost(exports);
        let unsent: [u64; 3] = std::array::from_fn(|at| now[at] - before[at] + pending[at]);
        let mut errors = exports.signals().into_iter();
        let error = errors.find_map(|it| it.failing_for_seconds.and(it.last_error.clone()));
        let reason = || error.unwrap_or_else(|| "the time was over".to_owned());
        Self {
            spans: unsent[0],
            data_points: unsent[1],
            log_records: unsent[2],
            reason: (unsent != [0; 3]).then(reason),
        }
    }

    fn counts(&self) -> [u64; 3] {
        [self.spans, self.data_points, self.log_records]
    }
}

/// Formats as in "could not be sent: 3 spans (connection refused)".
impl fmt::Display for Unsent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&in_words(self.counts()))?;
        match &self.reason {
            Some(reason) => write!(f, " ({reason})"),
            None => Ok(()),
        }
    }
}

impl Pipeline {
    /// Flushes and shuts down the providers. Waits on the export runtime, because the thread that awaits this
    /// may be the only one of the app.
    pub(super) async fn shut_down(&self, deadline: Duration) -> Unsent {
        let stats = &self.shared.stats;
        let until = Instant::now() + deadline;
        let before = lost(&stats.read());
        // A little earlier, so that abandoned items are counted before the deadline.
        let margin = (deadline / 10).min(Duration::from_millis(100));
        self.shared.runtime.cut_off((until - margin).into());
        for queue in &self.queues {
            queue.close();
        }
        // Each provider blocks until its last export is over, but some for at most 5 s, whatever the
        // deadline is. So wait for the exports, and not for the providers.
        let traces = self.tracer_provider.clone();
        flush(move || traces.map(|it| it.shutdown_with_timeout(deadline)));
        let metrics = self.meter_provider.clone();
        flush(move || metrics.map(|it| it.shutdown_with_timeout(deadline)));
        let logs = self.logger_provider.clone();
        flush(move || logs.map(|it| it.shutdown_with_timeout(deadline)));
        let queues = self.queues.clone();
        let exports = async move {
            for queue in queues {
                let _ = queue
                    .finished
                    .subscribe()
                    .wait_for(|finished| *finished)
                    .await;
            }
        };
        let exports = async move { timeout_at(until.into(), exports).await };
        let _ = self.shared.runtime.handle.spawn(exports).await;
        for queue in &self.queues {
            queue.abandon();
        }
        Unsent::since(before, [0; 3], &stats.read())
    }
}

/// Returns the items lost since the start, by signal.
pub(super) fn lost(exports: &Exports) -> [u64; 3] {
    exports.signals().map(|it| it.failed + it.dropped)
}

/// Runs on a thread of its own. If the system cannot start one, nothing is flushed, and the items are counted.
fn flush<T>(work: impl FnOnce() -> T + Send + 'static) {
    let thread = std::thread::Builder::new().name("poolscope-flush".to_owned());
    let _ = thread.spawn(move || {
        let _ = work();
    });
}
