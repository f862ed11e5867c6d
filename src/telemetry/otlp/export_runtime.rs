//! The thread with the runtime for HTTP and gRPC, and the time limits of an export.
//!
//! The SDK exports from its own threads, which have no runtime. The runtime of the app cannot be used: it
//! may have only one thread, and that thread may be waiting in `shutdown`.

use std::future::Future;
use std::io;
use std::pin::pin;
use std::time::Duration;

use futures_util::future::{Either, select};
use opentelemetry::Context;
use tokio::runtime::{Builder, Handle};
use tokio::sync::{oneshot, watch};
use tokio::time::{Instant, sleep_until, timeout};

/// A runtime on its own thread. The thread ends when this value is dropped.
#[derive(Debug)]
pub(super) struct ExportRuntime {
    pub(super) handle: Handle,
    /// The instant from which nothing is sent.
    cut_off: watch::Sender<Option<Instant>>,
    /// Ends the thread when dropped.
    _running: oneshot::Sender<()>,
}

/// Why an export was abandoned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Cut {
    TimedOut,
    /// Exporting was shut down.
    Ended,
}

impl ExportRuntime {
    pub(super) fn start() -> io::Result<Self> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let handle = runtime.handle().clone();
        let (running, ended) = oneshot::channel::<()>();
        std::thread::Builder::new()
            .name("poolscope-otlp".to_owned())
            .spawn(move || {
                // Suppresses the spans and events that HTTP and gRPC make during an export.
                let _suppressed = Context::enter_telemetry_suppressed_scope();
                let _ = runtime.block_on(ended);
                // A name lookup cannot be cancelled. Do not wait for it.
                runtime.shutdown_background();
            })?;
        Ok(Self {
            handle,
            cut_off: watch::Sender::new(None),
            _running: running,
        })
    }

    /// Sets the instant at which running exports are abandoned and no new ones begin.
    pub(super) fn cut_off(&self, at: Instant) {
        self.cut_off.send_replace(Some(at));
    }

    pub(super) fn is_cut_off(&self) -> bool {
        self.cut_off.borrow().is_some_and(|at| at <= Instant::now())
    }

    /// Runs an export until it ends or its limit is reached. Blocks, so only the SDK's threads may call it.
    pub(super) fn run<T>(
        &self,
        export: impl Future<Output = T>,
        limit: Duration,
    ) -> Result<T, Cut> {
        self.handle.block_on(async {
            let ended = pin!(self.ended());
            match timeout(limit, select(pin!(export), ended)).await {
                Ok(Either::Left((done, _))) => Ok(done),
                Ok(Either::Right(_)) => Err(Cut::Ended),
                Err(_) => Err(Cut::TimedOut),
            }
        })
    }

    async fn ended(&self) {
        let mut cut_off = self.cut_off.subscribe();
        let at = cut_off.wait_for(Option::is_some).await;
        // Never fails: `self` owns the sender.
        if let Some(at) = at.ok().and_then(|at| *at) {
            sleep_until(at).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::sleep;

    use super::*;

    const SHORT: Duration = Duration::from_millis(5);
    const LONG: Duration = Duration::from_secs(60);

    #[test]
    fn exports_end_at_their_time_limits() {
        let runtime = ExportRuntime::start().unwrap();
        assert_eq!(runtime.run(async { sleep(SHORT).await }, LONG), Ok(()));
        let long = async || sleep(LONG).await;
        assert_eq!(runtime.run(long(), SHORT), Err(Cut::TimedOut));
        assert!(!runtime.is_cut_off());
        std::thread::scope(|scope| {
            let export = scope.spawn(|| runtime.run(long(), LONG));
            runtime.cut_off(Instant::now());
            assert_eq!(export.join().unwrap(), Err(Cut::Ended));
        });
        assert!(runtime.is_cut_off());
    }
}
