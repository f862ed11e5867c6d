//! The end: sends what is left within a deadline, and says what could not be sent.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use super::lane::Lane;
use super::losses::Losses;
use super::pipeline::Pipeline;
use crate::exports::Signal;

/// What could not be sent at the end.
#[non_exhaustive]
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unsent {
    /// Spans.
    pub spans: u64,
    /// Data points of metrics.
    pub data_points: u64,
    /// Log records.
    pub log_records: u64,
    /// Why, if anything was left.
    pub reason: Option<String>,
}

impl Unsent {
    /// Whether everything was sent.
    #[must_use]
    pub fn is_none(&self) -> bool {
        self.losses().is_none()
    }

    pub(super) fn nothing() -> Self {
        Self {
            spans: 0,
            data_points: 0,
            log_records: 0,
            reason: None,
        }
    }

    fn losses(&self) -> Losses {
        Losses::new(self.spans, self.data_points, self.log_records)
    }
}

/// As in "could not be sent: 3 spans (connection refused)".
impl fmt::Display for Unsent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.losses().fmt(f)?;
        match &self.reason {
            Some(reason) => write!(f, " ({reason})"),
            None => Ok(()),
        }
    }
}

impl Pipeline {
    /// Flushes and ends everything. Waits without a runtime's help, on a thread of its own: that
    /// which awaits this may be the app's only one.
    pub(super) async fn shut_down(&self, deadline: Duration) -> Unsent {
        let until = Instant::now() + deadline;
        let before = Losses::of(&self.tally.read());
        // A little earlier, so that what is given up is counted before the deadline.
        let margin = (deadline / 10).min(Duration::from_millis(100));
        self.line.cut_off((until - margin).into());
        for lane in &self.lanes {
            lane.close();
        }
        let traces = self.tracer_provider.clone();
        let metrics = self.meter_provider.clone();
        let logs = self.logger_provider.clone();
        // Each blocks until its last export is over, and some for not longer than 5 s whatever
        // they are told; so not they are waited for, but the exports.
        let flush = move |signal| {
            let _ = match signal {
                Signal::Traces => traces.as_ref().map(|it| it.shutdown_with_timeout(deadline)),
                Signal::Metrics => metrics
                    .as_ref()
                    .map(|it| it.shutdown_with_timeout(deadline)),
                Signal::Logs => logs.as_ref().map(|it| it.shutdown_with_timeout(deadline)),
            };
        };
        let lanes = self.lanes.clone();
        let (done, waited) = oneshot::channel();
        let waiting = thread(move || {
            flush_all(&lanes, &flush, until);
            let _ = done.send(());
        });
        if waiting {
            let _ = waited.await;
        }
        for lane in &self.lanes {
            lane.abandon();
        }
        let exports = self.tally.read();
        let lost = Losses::of(&exports).since(&before);
        let errors = [&exports.traces, &exports.metrics, &exports.logs];
        let reason = || {
            let mut errors = errors.iter();
            errors
                .find_map(|signal| signal.failing_for_seconds.and(signal.last_error.clone()))
                .unwrap_or_else(|| "the time was over".to_owned())
        };
        Unsent {
            spans: lost.get(Signal::Traces),
            data_points: lost.get(Signal::Metrics),
            log_records: lost.get(Signal::Logs),
            reason: (!lost.is_none()).then(reason),
        }
    }
}

fn flush_all<F>(lanes: &[Arc<Lane>], flush: &F, until: Instant)
where
    F: Fn(Signal) + Clone + Send + 'static,
{
    for lane in lanes {
        let (flush, signal) = (flush.clone(), lane.signal);
        thread(move || flush(signal));
    }
    for lane in lanes {
        lane.wait_finished(until);
    }
}

/// Whether the system gives one; without, nothing is flushed, and that is counted.
fn thread(work: impl FnOnce() + Send + 'static) -> bool {
    let thread = std::thread::Builder::new().name("poolscope-flush".to_owned());
    thread.spawn(work).is_ok()
}
