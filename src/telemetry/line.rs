//! The thread that talks to the receivers, and how long it may.
//!
//! The SDK exports from threads of its own, which have no runtime; the app's is not to be used: it
//! may have one thread, and that may be waiting for us at the end.

use std::future::Future;
use std::io;
use std::pin::{Pin, pin};
use std::sync::Mutex;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::future::{Either, select};
use opentelemetry::Context as OtelContext;
use pin_project_lite::pin_project;
use tokio::runtime::{Builder, Handle};
use tokio::sync::{oneshot, watch};
use tokio::time::{Instant, sleep, sleep_until};
use tracing::dispatcher::{self, Dispatch};

/// A runtime on a thread of its own; it ends with the last who holds this.
#[derive(Debug)]
pub(super) struct Line {
    runtime: Handle,
    /// From when on nothing is sent any more.
    cut_off: watch::Sender<Option<Instant>>,
    /// Dropped, it ends the thread.
    _running: Mutex<oneshot::Sender<()>>,
}

/// Why something was not sent to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Cut {
    /// It took longer than it may.
    TimedOut,
    /// Exporting ended meanwhile.
    Ended,
}

impl Line {
    pub(super) fn start() -> io::Result<Self> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let handle = runtime.handle().clone();
        let (running, ended) = oneshot::channel::<()>();
        std::thread::Builder::new()
            .name("poolscope-otlp".to_owned())
            .spawn(move || {
                // What HTTP and gRPC tell of an export is not to be exported in its turn.
                let _suppressed = OtelContext::enter_telemetry_suppressed_scope();
                let _ = runtime.block_on(ended);
                // A name that is being looked up can't be given up, and is not to be waited for.
                runtime.shutdown_background();
            })?;
        Ok(Self {
            runtime: handle,
            cut_off: watch::Sender::new(None),
            _running: Mutex::new(running),
        })
    }

    /// Does what has to be done where the runtime is.
    pub(super) fn enter<T>(&self, work: impl FnOnce() -> T) -> T {
        let _entered = self.runtime.enter();
        work()
    }

    /// At this time everything under way is given up, and nothing is begun any more.
    pub(super) fn cut_off(&self, at: Instant) {
        self.cut_off.send_replace(Some(at));
    }

    /// Whether that time is over.
    pub(super) fn is_cut_off(&self) -> bool {
        self.cut_off.borrow().is_some_and(|at| at <= Instant::now())
    }

    /// Polls an export from a thread without a runtime, for so long at most. What it logs goes to
    /// `log` and nowhere else.
    pub(super) fn run<'a, F>(
        &'a self,
        export: F,
        timeout: Duration,
        log: &'a Dispatch,
    ) -> impl Future<Output = Result<F::Output, Cut>> + use<'a, F>
    where
        F: Future + Send + 'a,
    {
        let limited = async move {
            let timed_out = pin!(sleep(timeout));
            let ended = pin!(self.ended());
            match select(pin!(export), select(timed_out, ended)).await {
                Either::Left((done, _)) => Ok(done),
                Either::Right((Either::Left(_), _)) => Err(Cut::TimedOut),
                Either::Right((Either::Right(_), _)) => Err(Cut::Ended),
            }
        };
        Polled {
            runtime: &self.runtime,
            log,
            future: limited,
        }
    }

    async fn ended(&self) {
        let mut cut_off = self.cut_off.subscribe();
        let at = cut_off
            .wait_for(Option::is_some)
            .await
            .ok()
            .and_then(|at| *at);
        match at {
            Some(at) => sleep_until(at).await,
            None => std::future::pending().await,
        }
    }
}

pin_project! {
    /// A future that is polled as if on the runtime, and whose log goes elsewhere.
    struct Polled<'a, F> {
        runtime: &'a Handle,
        log: &'a Dispatch,
        #[pin]
        future: F,
    }
}

impl<F: Future> Future for Polled<'_, F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let this = self.project();
        let _entered = this.runtime.enter();
        dispatcher::with_default(this.log, || this.future.poll(cx))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::task::{Wake, Waker};
    use std::thread::{self, Thread};

    use super::*;

    const LONG: Duration = Duration::from_secs(60);

    struct Unpark(Thread);

    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }

    /// As the SDK's threads do: an executor without a runtime.
    fn run(line: &Line, sleeping: Duration, timeout: Duration) -> Result<(), Cut> {
        let waker = Waker::from(Arc::new(Unpark(thread::current())));
        let log = Dispatch::none();
        let mut future = pin!(line.run(async { sleep(sleeping).await }, timeout, &log));
        loop {
            match future.as_mut().poll(&mut Context::from_waker(&waker)) {
                Poll::Ready(done) => return done,
                Poll::Pending => thread::park(),
            }
        }
    }

    #[test]
    fn timers_run_and_limits_hold_on_a_thread_without_a_runtime() {
        let line = Line::start().unwrap();
        let short = Duration::from_millis(5);
        assert_eq!(run(&line, short, LONG), Ok(()));
        assert_eq!(run(&line, LONG, short), Err(Cut::TimedOut));
        assert!(!line.is_cut_off());
        line.cut_off(Instant::now() + short);
        assert_eq!(run(&line, LONG, LONG), Err(Cut::Ended));
        assert!(line.is_cut_off());
    }

    #[test]
    fn an_export_under_way_is_given_up_at_the_end() {
        let line = Line::start().unwrap();
        thread::scope(|scope| {
            let export = scope.spawn(|| run(&line, LONG, LONG));
            line.cut_off(Instant::now());
            assert_eq!(export.join().unwrap(), Err(Cut::Ended));
        });
    }
}
