//! A checkout under observation, from the asking to the answer, or to its being dropped.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{self, Poll};

use opentelemetry::Context;
use pin_project_lite::pin_project;
use tokio::time::Instant;

use super::checkouts::Refusal;
use super::guard::Observed;
use super::ledger::Holder;
use super::recorder::Recorder;
use super::span::CheckoutSpan;
use crate::attribution::Attribution;
use crate::checkout::{Checkout, Held};
use crate::error::{BoxError, PoolError};
use crate::occupant::{Occupant, QueryObserver};
use crate::phase::{self, Phase, Phases};

pin_project! {
    /// The future of [`Observe`](super::Observe).
    #[must_use = "futures do nothing unless polled"]
    pub struct ResponseFuture<F> {
        attempt: Option<Attempt>,
        #[pin]
        inner: F,
    }

    impl<F> PinnedDrop for ResponseFuture<F> {
        fn drop(this: Pin<&mut Self>) {
            if let Some(attempt) = this.project().attempt.take() {
                attempt.given_up();
            }
        }
    }
}

/// A checkout that has no answer yet.
struct Attempt {
    recorder: Arc<Recorder>,
    checkout: Checkout,
    asked: Instant,
    /// Opened at the first poll, as everything else in an `async fn` happens then: so it is a child
    /// of the context that the future runs in, `pool.get().with_context(cx)` and
    /// `pool.get().instrument(span)` included. Without one, nothing has been asked for yet.
    span: Option<CheckoutSpan>,
    /// The context and the request at that time.
    context: Context,
    request: Option<Arc<Attribution>>,
    /// Once it had to wait.
    waiting: Option<Waiting>,
}

/// A wait, and how long what has taken of it.
struct Waiting {
    /// The entry in the ledger.
    key: u32,
    phase: Option<Phase>,
    since: Instant,
    /// When it was last woken, which is when a phase ends.
    woken: Instant,
    phases: Option<Phases>,
}

impl<F> ResponseFuture<F> {
    pub(super) fn new(inner: F, recorder: &Arc<Recorder>, checkout: Checkout) -> Self {
        let attempt = Attempt {
            recorder: Arc::clone(recorder),
            checkout,
            asked: Instant::now(),
            span: None,
            context: Context::new(),
            request: None,
            waiting: None,
        };
        Self {
            attempt: Some(attempt),
            inner,
        }
    }
}

impl<F, T, E> Future for ResponseFuture<F>
where
    F: Future<Output = Result<T, E>>,
    T: Held,
    E: Into<BoxError>,
{
    type Output = Result<Observed<T>, PoolError>;

    fn poll(self: Pin<&mut Self>, cx: &mut task::Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        if let Some(attempt) = this.attempt.as_mut() {
            attempt.begin();
        }
        // What a stack that nobody observes may have left.
        phase::reason();
        match this.inner.poll(cx) {
            Poll::Pending => {
                if let Some(attempt) = this.attempt.as_mut() {
                    attempt.wait(phase::reason());
                }
                Poll::Pending
            }
            Poll::Ready(answer) => {
                let attempt = this.attempt.take().expect("polled after completion");
                Poll::Ready(match answer {
                    Ok(inner) => Ok(attempt.granted(inner)),
                    Err(error) => Err(attempt.refused(PoolError::from_layer(error.into()))),
                })
            }
        }
    }
}

impl Attempt {
    fn begin(&mut self) {
        if let Some(waiting) = &mut self.waiting {
            waiting.woken = Instant::now();
        }
        if self.span.is_none() {
            let Recorder { tracing, name, .. } = &*self.recorder;
            self.context = Context::current();
            self.request = Attribution::current();
            self.span = Some(tracing.start(name, self.checkout, &self.context));
        }
    }

    fn wait(&mut self, phase: Option<Phase>) {
        let Some(waiting) = &mut self.waiting else {
            let since = self.asked;
            self.waiting = Some(Waiting {
                key: self.recorder.queued(since, phase),
                phase,
                since,
                woken: since,
                phases: None,
            });
            return;
        };
        if waiting.phase != phase {
            let (key, woken) = (waiting.key, waiting.woken);
            waiting.end_phase(woken, self.span.as_mut());
            (waiting.phase, waiting.since) = (phase, woken);
            self.recorder.waits_for(key, phase);
        }
    }

    /// The entry in the ledger and the phases of a wait that is over.
    fn end_waiting(&mut self, now: Instant) -> (Option<u32>, Option<Phases>) {
        match self.waiting.take() {
            None => (None, None),
            Some(mut waiting) => {
                waiting.end_phase(now, self.span.as_mut());
                (Some(waiting.key), waiting.phases)
            }
        }
    }

    fn route(&self) -> Option<&Arc<str>> {
        self.request.as_ref()?.route.as_ref()
    }

    fn granted<T: Held>(mut self, inner: T) -> Observed<T> {
        let now = Instant::now();
        let (waiter, phases) = self.end_waiting(now);
        let Self {
            recorder,
            checkout,
            asked,
            span,
            context,
            request,
            ..
        } = self;
        let trace = span.and_then(|span| span.trace());
        let facts = inner.facts();
        let waited = now.saturating_duration_since(asked);
        if let Some(slot) = facts.as_ref().and_then(|facts| facts.slot()) {
            slot.occupy(Occupant {
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
            waited,
            trace,
            request,
            busy_before: facts.as_ref().and_then(|facts| facts.busy()),
            facts,
            position: None,
            told_as_leak: false,
        };
        let key = recorder.granted(holder, waiter, phases);
        recorder.tell_slow_wait(checkout, waited, phases);
        Observed::new(inner, recorder, key)
    }

    fn refused(mut self, mut error: PoolError) -> PoolError {
        let now = Instant::now();
        let (waiter, phases) = self.end_waiting(now);
        self.recorder
            .refused(Refusal::from(&error), waiter, self.asked, self.route());
        self.count_wait(now);
        if let PoolError::TimedOut(timeout) = &mut error {
            timeout.waited = now.saturating_duration_since(self.asked);
            timeout.phases = phases;
            timeout.scene = Some(self.recorder.scene(now));
        }
        if let Some(span) = self.span.take() {
            span.failed(&error);
        }
        error
    }

    /// Its caller has gone away.
    fn given_up(mut self) {
        // A future that was never polled has no span, and has asked for nothing.
        if self.span.is_none() {
            return;
        }
        let now = Instant::now();
        let (waiter, _) = self.end_waiting(now);
        if let Some(span) = self.span.take() {
            span.canceled();
        }
        self.recorder
            .refused(Refusal::Canceled, waiter, self.asked, self.route());
        self.count_wait(now);
    }

    /// A request that got no connection has waited all the same.
    fn count_wait(&self, now: Instant) {
        if let Some(request) = &self.request {
            let waited = now.saturating_duration_since(self.asked);
            request.tally(&self.recorder, |tally| tally.used.waited += waited);
        }
    }
}

impl Waiting {
    fn end_phase(&mut self, at: Instant, span: Option<&mut CheckoutSpan>) {
        let Some(phase) = self.phase else { return };
        let time = at.saturating_duration_since(self.since);
        self.phases.get_or_insert_default().add(phase, time);
        if let Some(span) = span {
            span.waited(phase, time);
        }
    }
}

impl<F> fmt::Debug for ResponseFuture<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseFuture").finish_non_exhaustive()
    }
}
