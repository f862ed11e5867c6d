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
use crate::observe::span::{self, CheckoutSpan, reference};
use crate::record::blame::Mark;
use crate::record::checkouts::NotGranted;
use crate::record::culprits::Culprits;
use crate::record::ledger::Holder;
use crate::record::nested::{Borrower, task_of};
use crate::record::recorder::Recorder;
use crate::request::attribution::Attribution;

pin_project! {
    /// The future of [`Observe`](crate::observe::Observe).
    #[must_use = "futures do nothing unless polled"]
    pub struct ResponseFuture<F> {
        // `None` once the checkout has completed.
        recorder: Option<Arc<Recorder>>,
        checkout: Checkout,
        // `None` until the first poll.
        begun: Option<Begun>,
        // Dropped early if the checkout is denied: it must leave the queue at once.
        #[pin]
        inner: Option<F>,
    }

    impl<F> PinnedDrop for ResponseFuture<F> {
        fn drop(this: Pin<&mut Self>) {
            let this = this.project();
            // A future that was never polled has not requested a connection.
            if let (Some(recorder), Some(begun)) = (this.recorder, this.begun.take()) {
                begun.given_up(recorder);
            }
        }
    }
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

impl<F> ResponseFuture<F> {
    pub(crate) fn new(inner: F, recorder: &Arc<Recorder>, checkout: Checkout) -> Self {
        Self {
            recorder: Some(Arc::clone(recorder)),
            checkout,
            begun: None,
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
        let recorder = this.recorder.as_ref().expect("polled after completion");
        let begun = match &mut *this.begun {
            Some(begun) => begun.woken(),
            none => none.insert(Begun::now(recorder, *this.checkout)),
        };
        // Clears the phase that an unobserved checkout may have left.
        wait_phase::reason();
        let inner = this.inner.as_mut().as_pin_mut();
        let inner = inner.expect("polled after completion");
        let answer = match inner.poll(cx) {
            Poll::Ready(answer) => answer.map_err(|error| PoolError::from_layer(error.into())),
            Poll::Pending => match begun.waits(recorder, *this.checkout, wait_phase::reason()) {
                Ok(()) => return Poll::Pending,
                Err(held) => {
                    this.inner.set(None);
                    Err(PoolError::Rejected(Rejection::Nested(held)))
                }
            },
        };
        let recorder = this.recorder.take().expect("it was there above");
        let begun = this.begun.take().expect("it was there above");
        Poll::Ready(match answer {
            Ok(inner) => Ok(begun.granted(recorder, *this.checkout, inner)),
            Err(error) => Err(begun.refused(&recorder, error)),
        })
    }
}

impl Begun {
    #[inline]
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
            trace: reference(self.span.as_ref(), &self.context).map(|span| span.trace),
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

    /// Ends the wait. Returns how long it was; zero if the checkout completed at the first poll.
    fn end_waiting(&mut self, now: Instant) -> Duration {
        let Some(waiting) = &mut self.waiting else {
            return Duration::ZERO;
        };
        waiting.end_phase(now);
        if let (Some(span), Some(phases)) = (&mut self.span, &waiting.phases) {
            span.waited(phases);
        }
        now.saturating_duration_since(waiting.asked)
    }

    /// Records who made the checkout wait if that was slow or in vain, and links to their spans. Called
    /// before the end of the wait is recorded.
    fn blames(&mut self, recorder: &Recorder, now: Instant) -> Culprits {
        let Some(waiting) = &self.waiting else {
            return Culprits::default();
        };
        let culprits = recorder.culprits(waiting.key, now);
        if let Some(span) = &mut self.span {
            span.waited_for(&culprits);
        }
        culprits
    }

    /// Records a refusal. The wait counts for the request, too.
    fn record_refusal(
        &self,
        recorder: &Arc<Recorder>,
        refusal: NotGranted,
        now: Instant,
        waited: Duration,
    ) {
        let waiting = self.waiting.as_ref();
        let asked = waiting.map_or(now, |waiting| waiting.asked);
        let route = self
            .request
            .as_ref()
            .and_then(|request| request.route.as_ref());
        recorder.refused(refusal, waiting.map(|waiting| waiting.key), asked, route);
        if let Some(request) = &self.request {
            request.tally(recorder, |tally| tally.used.waited += waited);
        }
    }

    fn granted<T: PooledGuard>(
        mut self,
        recorder: Arc<Recorder>,
        checkout: Checkout,
        inner: T,
    ) -> Observed<T> {
        // Without a wait, the hold begins when the connection read the clock.
        let at_once = match self.waiting {
            None => inner.since(),
            Some(_) => None,
        };
        let now = at_once.unwrap_or_else(Instant::now);
        let waited = self.end_waiting(now);
        if waited > recorder.slow_wait {
            self.blames(&recorder, now);
        }
        let Self {
            span,
            context,
            request,
            waiting,
        } = self;
        let linked = reference(span.as_ref(), &context);
        drop(span);
        let facts = inner.facts();
        if let Some(slot) = facts.as_ref().and_then(|facts| facts.slot()) {
            slot.set(QueryContext {
                observer: Arc::clone(&recorder) as Arc<dyn QueryObserver>,
                context,
                request: request.clone(),
                caller: checkout.caller(),
            });
        }
        if let Some(facts) = &facts {
            facts.hold_begins();
        }
        let holder = Holder {
            checkout,
            since: now,
            at: 0,
            waited,
            span: linked,
            task: task_of(request.as_ref()),
            request,
            busy_before: facts.as_ref().and_then(|facts| facts.busy()),
            facts,
            position: None,
            mark: Mark::default(),
            leak_reported: false,
        };
        let phases = waiting.as_ref().and_then(|waiting| waiting.phases.as_ref());
        let waiter = waiting.as_ref().map(|waiting| waiting.key);
        let key = recorder.granted(holder, waiter, phases);
        if waited > recorder.slow_wait {
            recorder.log_slow_wait(checkout, waited, phases);
        }
        Observed {
            recorder,
            key,
            inner,
        }
    }

    fn refused(mut self, recorder: &Arc<Recorder>, mut error: PoolError) -> PoolError {
        let now = Instant::now();
        let waited = self.end_waiting(now);
        let culprits = match &error {
            PoolError::TimedOut(_) => self.blames(recorder, now),
            _ => Culprits::default(),
        };
        self.record_refusal(recorder, NotGranted::from(&error), now, waited);
        if let PoolError::TimedOut(timeout) = &mut error {
            timeout.waited = waited.max(timeout.waited);
            timeout.phases = self.waiting.as_ref().and_then(|waiting| waiting.phases);
            timeout.scene = Some(recorder.scene(now, &self.borrower(), &culprits));
        }
        if let Some(span) = self.span {
            span.failed(&error);
        }
        error
    }

    /// Records that the caller dropped the future.
    fn given_up(mut self, recorder: &Arc<Recorder>) {
        let now = Instant::now();
        let waited = self.end_waiting(now);
        if let Some(span) = self.span.take() {
            span.canceled();
        }
        self.record_refusal(recorder, NotGranted::Canceled, now, waited);
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
