//! Exports what is queued and goes on: for processes that are frozen between requests.

use std::time::{Duration, Instant};

use opentelemetry_sdk::error::OTelSdkResult;
use tokio::sync::oneshot;
use tokio::time::timeout_at;

use super::pipeline::Pipeline;
use super::shutdown::{Unsent, lost};

/// The SDK waits for at most 5 s, however long its exports take. A shorter wait has another reason.
const SDK_WAITS: Duration = Duration::from_secs(4);

impl Pipeline {
    /// Exports what is queued, and the current readings of the metrics. Waits on the export runtime, like
    /// [`shut_down`](Self::shut_down).
    pub(super) async fn flush(&self, deadline: Duration) -> Unsent {
        let stats = &self.shared.stats;
        let until = Instant::now() + deadline;
        let before = lost(&stats.read());
        let traces = self.tracer_provider.clone();
        let metrics = self.meter_provider.clone();
        let logs = self.logger_provider.clone();
        let flushed = [
            traces.map(|it| on_a_thread(until, move || it.force_flush())),
            metrics.map(|it| on_a_thread(until, move || it.force_flush())),
            logs.map(|it| on_a_thread(until, move || it.force_flush())),
        ];
        let all = async move {
            for flushed in flushed.into_iter().flatten() {
                let _ = flushed.await;
            }
        };
        let all = async move { timeout_at(until.into(), all).await.is_ok() };
        let in_time = self.shared.runtime.handle.spawn(all).await;
        let pending = match in_time {
            Ok(true) => [0; 3],
            _ => stats.pending(),
        };
        Unsent::since(before, pending, &stats.read())
    }
}

/// Flushes on a thread of its own, because that blocks. If the system cannot start one, nothing is flushed.
fn on_a_thread(
    until: Instant,
    flush: impl Fn() -> OTelSdkResult + Send + 'static,
) -> oneshot::Receiver<()> {
    let (done, flushed) = oneshot::channel();
    let thread = std::thread::Builder::new().name("poolscope-flush".to_owned());
    let _ = thread.spawn(move || {
        loop {
            let start = Instant::now();
            if flush().is_ok() || start.elapsed() < SDK_WAITS || Instant::now() >= until {
                break;
            }
        }
        let _ = done.send(());
    });
    flushed
}
