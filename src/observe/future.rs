//! The future of an observed checkout, from the first poll until it completes or is dropped.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{self, Poll};
use std::time::Duration;

use opentelemetry::Context;
use pin_project_lite::pin_project;
use tokio::time::Instant;

use crate::checkout::query_context::{QueryContext, QueryObserver};
use crate::checkout::wait_phase::{self, Phase, Phases};
use crate::checkout::{Checkout, PooledGuard};
use crate::error::{AlreadyHeld, BoxError, PoolError, Rejection};
use crate::observe::guard::Observed;
use crate::observe::span::{self, CheckoutSpan, trace_of};
use crate::record::checkouts::NotGranted;
use crate::record::ledger::Holder;
use crate::record::nested::{Borrower, task_of};
use crate::record::recorder::Recorder;
use crate::request::attribution::Attribution;

pin_project! {
    /// The future of [`Observe`](crate::observe::Observe).
    #[must_use = "futures do nothing unless polled"]
    pub struct ResponseFuture<F> {
        attempt: Option<PendingCheckout>,
        // Dropped early if the checkout is denied: it must leave the queue at once.
        #[pin]
        inner: Option<F>,
    }

    impl<F> PinnedDrop for ResponseFuture<F> {
        fn drop(this: Pin<&mut Self>) {
            if let Some(attempt) = this.project().attempt.take() {
                attempt.given_up();
            }
        }
    }
}

/// A checkout that has not completed.
struct PendingCheckout {
    recorder: Arc<Recorder>,
    checkout: Checkout,
    begun: Option<Begun>,
}

/// The state since the first poll.
///
/// The span is opened and the context is taken at the first poll, because an `async fn` runs only
/// then. So the span is a child of the context in which the future runs, including
/// `pool.get().with_context(cx)` and `pool.get().instrument(span)`.
struct Begun {
    /// `None` if no tracer records spans.
    span: Option<CheckoutSpan>,
    context: Context,
    request: Option<Arc<Attribution>>,
    /// `None` if it has not waited.
    waiting: Option<Box<Wait>>,
}

/// A wait in progress, and the time spent in each phase.
struct Wait {
    asked: Instant,
    /// Key of the waiter in the pool state.
    key: u32,
    phase: Option<Phase>,
    /// When the current phase began.
    since: Instant,
    /// When the task was last woken, which is when a phase ends.
    woken: Instant,
    phases: Option<Phases>,
}

/// A completed wait. Its time is zero if the checkout completed at the first poll.
struct Waited {
    asked: Instant,
    time: Duration,
    /// Key of the waiter in the pool state; `None` if it did not wait.
    key: Option<u32>,
    phases: Option<Phases>,
}

impl<F> ResponseFuture<F> {
    pub(crate) fn new(inner: F, recorder: &Arc<Recorder>, checkout: Checkout) -> Self {
        let attempt = PendingCheckout {
            recorder: Arc::clone(recorder),
            checkout,
            begun: None,
        };
        Self {
            attempt: Some(attempt),
            inner: Some(inner),
        }
    }
}

impl<F, T, E> Future for ResponseFuture<F>
where
    F: Future<Output = Result<T, E>>,
    T: PooledGuard,
    E: Into<BoxError>,
{
    type Output = Result<Observed<T>, PoolError>;

    fn poll(self: Pin<&mut Self>, cx: &mut task::Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        let attempt = this.attempt.as_mut().expect("polled after completion");
        let begun = match &mut attempt.begun {
            Some(begun) => begun.woken(),
            none => none.insert(Begun::now(&attempt.recorder, attempt.checkout)),
        };
        // Clears the phase that an unobserved checkout may have left.
        wait_phase::reason();
        let inner = this.inner.as_mut().as_pin_mut();
        let inner = inner.expect("polled after completion");
        let Poll::Ready(answer) = inner.poll(cx) else {
            let waits = begun.waits(&attempt.recorder, attempt.checkout, wait_phase::reason());
            let Err(held) = waits else {
                return Poll::Pending;
            };
            this.inner.set(None);
            let attempt = this.attempt.take().expect("it was there above");
            let denied = PoolError::Rejected(Rejection::Nested(held));
            return Poll::Ready(Err(attempt.refused(denied)));
        };
        let attempt = this.attempt.take().expect("it was there above");
        Poll::Ready(match answer {
            Ok(inner) => Ok(attempt.granted(inner)),
            Err(error) => Err(attempt.refused(PoolError::from_layer(error.into()))),
        })
    }
}

impl Begun {
    fn now(recorder: &Recorder, checkout: Checkout) -> Self {
        let context = Context::current();
        Self {
            span: span::start(&recorder.tracing, &recorder.name, checkout, &context),
            context,
            request: Attribution::current(),
            waiting: None,
        }
    }

    fn woken(&mut self) -> &mut Self {
        if let Some(waiting) = &mut self.waiting {
            waiting.woken = Instant::now();
        }
        self
    }

    /// Returns the checkout's borrower. Its trace is that of the checkout's span.
    fn borrower(&self) -> Borrower<'_> {
        Borrower {
            request: self.request.as_ref(),
            trace: trace_of(self.span.as_ref(), &self.context),
        }
    }

    /// Records that the checkout waits. Returns the connection that its request already holds if it may
    /// not.
    fn waits(
        &mut self,
        recorder: &Recorder,
        checkout: Checkout,
        phase: Option<Phase>,
    ) -> Result<(), AlreadyHeld> {
        let Some(waiting) = &mut self.waiting else {
            let asked = Instant::now();
            let key = recorder.queued(checkout, asked, phase, &self.borrower())?;
            self.waiting = Some(Box::new(Wait {
                asked,
                key,
                phase,
                since: asked,
                woken: asked,
                phases: None,
            }));
            return Ok(());
        };
        if waiting.phase != phase {
            waiting.end_phase(waiting.woken);
            (waiting.phase, waiting.since) = (phase, waiting.woken);
            recorder.waits_for(waiting.key, phase);
        }
        Ok(())
    }

    fn end_waiting(&mut self, now: Instant) -> Waited {
        let Some(mut waiting) = self.waiting.take() else {
            return Waited {
                asked: now,
                time: Duration::ZERO,
                key: None,
                phases: None,
            };
        };
        waiting.end_phase(now);
        if let (Some(span), Some(phases)) = (&mut self.span, &waiting.phases) {
            span.waited(phases);
        }
        Waited {
            asked: waiting.asked,
            time: now.saturating_duration_since(waiting.asked),
            key: Some(waiting.key),
            phases: waiting.phases,
        }
    }

    /// Records a refusal. The wait counts for the request, too.
    fn refused(&self, recorder: &Arc<Recorder>, refusal: NotGranted, waited: &Waited) {
        let route = self
            .request
            .as_ref()
            .and_then(|request| request.route.as_ref());
        recorder.refused(refusal, waited.key, waited.asked, route);
        if let Some(request) = &self.request {
            request.tally(recorder, |tally| tally.used.waited += waited.time);
        }
    }
}

impl PendingCheckout {
    fn granted<T: PooledGuard>(self, inner: T) -> Observed<T> {
        let Self {
            recorder, checkout, ..
        } = self;
        let mut begun = self.begun.expect("it was polled");
        // Without a wait, the hold begins when the connection read the clock.
        let at_once = begun.waiting.is_none().then(|| inner.since()).flatten();
        let now = at_once.unwrap_or_else(Instant::now);
        let Waited {
            time, key, phases, ..
        } = begun.end_waiting(now);
        let Begun {
            span,
            context,
            request,
            ..
        } = begun;
        let trace = trace_of(span.as_ref(), &context);
        drop(span);
        let facts = inner.facts();
        if let Some(slot) = facts.as_ref().and_then(|facts| facts.slot()) {
            slot.set(QueryContext {
                observer: Arc::clone(&recorder) as Arc<dyn QueryObserver>,
                context,
                request: request.clone(),
            });
        }
        if let Some(facts) = &facts {
            facts.hold_begins();
        }
        let holder = Holder {
            checkout,
            since: now,
            at: 0,
            waited: time,
            trace,
            task: task_of(request.as_ref()),
            request,
            busy_before: facts.as_ref().and_then(|facts| facts.busy()),
            facts,
            position: None,
            leak_reported: false,
        };
        let key = recorder.granted(holder, key, phases);
        recorder.log_slow_wait(checkout, time, phases);
        Observed {
            recorder,
            key,
            inner,
        }
    }

    fn refused(self, mut error: PoolError) -> PoolError {
        let mut begun = self.begun.expect("it was polled");
        let now = Instant::now();
        let waited = begun.end_waiting(now);
        begun.refused(&self.recorder, NotGranted::from(&error), &waited);
        if let PoolError::TimedOut(timeout) = &mut error {
            timeout.waited = waited.time.max(timeout.waited);
            timeout.phases = waited.phases;
            timeout.scene = Some(self.recorder.scene(now, &begun.borrower()));
        }
        if let Some(span) = begun.span {
            span.failed(&error);
        }
        error
    }

    /// Records that the caller dropped the future.
    fn given_up(self) {
        // A future that was never polled has not requested a connection.
        let Some(mut begun) = self.begun else { return };
        let waited = begun.end_waiting(Instant::now());
        if let Some(span) = begun.span.take() {
            span.canceled();
        }
        begun.refused(&self.recorder, NotGranted::Canceled, &waited);
    }
}

impl Wait {
    fn end_phase(&mut self, at: Instant) {
        let Some(phase) = self.phase else { return };
        let time = at.saturating_duration_since(self.since);
        self.phases.get_or_insert_default().add(phase, time);
    }
}

impl<F> fmt::Debug for ResponseFuture<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseFuture").finish_non_exhaustive()
    }
}
