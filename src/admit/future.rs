//! The future of a checkout through the gate, step by step, under one deadline.

use std::future::Future;
use std::mem;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use pin_project_lite::pin_project;
use tokio::time::{Instant, Sleep, sleep_until};
use tower::util::Oneshot;

use super::gate::{Entered, Gate, Turn};
use super::permit::{Admitted, Permit};
use super::queue::Refused;
use crate::checkout::Checkout;
use crate::checkout::wait_phase::{self, Phase};
use crate::error::{BoxError, PoolError, Rejection};

pin_project! {
    /// The future of [`Admit`](super::Admit).
    #[must_use = "futures do nothing unless polled"]
    pub struct ResponseFuture<S, F = Oneshot<S, Checkout>> {
        checkout: Checkout,
        // Taken when the service is called, after admission.
        service: Option<S>,
        call: fn(S, Checkout) -> F,
        // Dropped before the permit.
        #[pin]
        response: Option<F>,
        step: Progress,
        // `None` until the checkout waits. Most never do, and need no clock.
        waiting: Option<QueueWait>,
    }
}

/// The progress of a checkout.
enum Progress {
    Arriving(Arc<Gate>),
    Queued(Turn),
    Inside(Permit),
    Done,
}

/// The time limits of a checkout that waits.
struct QueueWait {
    since: Instant,
    deadline: Instant,
    alarm: Pin<Box<Sleep>>,
}

impl<S, F> ResponseFuture<S, F> {
    pub(super) fn new(
        service: S,
        call: fn(S, Checkout) -> F,
        gate: Arc<Gate>,
        checkout: Checkout,
    ) -> Self {
        Self {
            checkout,
            service: Some(service),
            call,
            response: None,
            step: Progress::Arriving(gate),
            waiting: None,
        }
    }
}

impl<S, F, T, E> Future for ResponseFuture<S, F>
where
    F: Future<Output = Result<T, E>>,
    E: Into<BoxError>,
{
    type Output = Result<Admitted<T>, PoolError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut answer = self.as_mut().advance(cx);
        if let Poll::Ready(Ok(_)) = answer {
            return answer;
        }
        let mut this = self.project();
        if answer.is_pending() {
            answer = if this.checkout.waits() {
                if this.waiting.is_none() {
                    // Pass the instant of the request on, so that a checkout that queued during an
                    // outage does not wait for a connect error again.
                    *this.checkout = this.checkout.asked_at(this.checkout.asked());
                }
                let waiting = this
                    .waiting
                    .get_or_insert_with(|| this.step.begins_to_wait());
                waiting.poll(this.step, cx)
            } else {
                Poll::Ready(Err(PoolError::Rejected(Rejection::WouldWait)))
            };
        }
        if let Poll::Ready(Err(_)) = answer {
            // Release the queue entry or the permit at once.
            this.response.set(None);
            *this.step = Progress::Done;
        }
        answer
    }
}

impl<S, F, T, E> ResponseFuture<S, F>
where
    F: Future<Output = Result<T, E>>,
    E: Into<BoxError>,
{
    /// Proceeds as far as possible without waiting.
    fn advance(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<Admitted<T>, PoolError>> {
        let mut this = self.project();
        if this.response.is_none() {
            ready!(this.step.enter(this.checkout.waits(), cx))?;
            let service = this.service.take().expect("the service is called once");
            this.response
                .set(Some((this.call)(service, *this.checkout)));
        }
        let response = this
            .response
            .as_pin_mut()
            .expect("the response was set above");
        let inner = ready!(response.poll(cx)).map_err(|e| PoolError::from_layer(e.into()))?;
        match mem::replace(this.step, Progress::Done) {
            Progress::Inside(permit) => Poll::Ready(Ok(Admitted {
                inner,
                permit: Some(permit),
            })),
            _ => unreachable!("a response implies a permit"),
        }
    }
}

impl Progress {
    /// Takes a permit. Joins the queue only if the checkout `waits`.
    fn enter(&mut self, waits: bool, cx: &mut Context<'_>) -> Poll<Result<(), Refused>> {
        *self = match mem::replace(self, Self::Done) {
            Self::Arriving(gate) => match gate.enter(waits, cx.waker())? {
                Entered::In(permit) => Self::Inside(permit),
                Entered::Waits(turn) => Self::Queued(turn),
                Entered::Full => return Poll::Pending,
            },
            Self::Queued(mut turn) => match turn.poll(cx)? {
                Poll::Ready(permit) => Self::Inside(permit),
                Poll::Pending => Self::Queued(turn),
            },
            Self::Inside(_) | Self::Done => panic!("polled after completion"),
        };
        if let Self::Inside(_) = self {
            return Poll::Ready(Ok(()));
        }
        wait_phase::waits_in(Phase::Queued);
        Poll::Pending
    }

    fn begins_to_wait(&self) -> QueueWait {
        const CENTURY: Duration = Duration::from_secs(100 * 365 * 24 * 3600);
        let since = Instant::now();
        // Cap the timeout, so that the deadline does not overflow the clock.
        let timeout = self.gate().timeout().min(CENTURY);
        let deadline = since.checked_add(timeout).unwrap_or(since);
        let patience = match self {
            Self::Queued(turn) => turn.gate.patience,
            _ => None,
        };
        let first = patience.and_then(|(first, _)| since.checked_add(first));
        let until = first.map_or(deadline, |first| first.min(deadline));
        QueueWait {
            since,
            deadline,
            alarm: Box::pin(sleep_until(until)),
        }
    }

    fn gate(&self) -> &Gate {
        match self {
            Self::Arriving(gate) => gate,
            Self::Queued(turn) => &turn.gate,
            Self::Inside(permit) => &permit.0,
            Self::Done => unreachable!("a completed checkout does not wait"),
        }
    }
}

impl QueueWait {
    /// Waits until the deadline passes or load shedding rejects the checkout.
    fn poll<T>(&mut self, step: &mut Progress, cx: &mut Context<'_>) -> Poll<Result<T, PoolError>> {
        loop {
            ready!(self.alarm.as_mut().poll(cx));
            let now = Instant::now();
            if now >= self.deadline {
                return Poll::Ready(Err(PoolError::timed_out(now - self.since)));
            }
            let mut next = self.deadline;
            if let Progress::Queued(turn) = step
                && let Some((_, interval)) = turn.gate.patience
            {
                if let Some(refusal) = turn.overdue(now) {
                    return Poll::Ready(Err(refusal.into()));
                }
                next = next.min(now.checked_add(interval).unwrap_or(next));
            }
            self.alarm.as_mut().reset(next);
        }
    }
}

impl From<Refused> for PoolError {
    fn from(refusal: Refused) -> Self {
        match refusal {
            Refused::Closed => Self::Closed,
            Refused::RuntimeEnded => Self::RuntimeEnded,
            Refused::Suspended => Self::Suspended,
            Refused::Rejected(why) => Self::Rejected(why),
        }
    }
}

impl<S, F> std::fmt::Debug for ResponseFuture<S, F> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ResponseFuture")
            .field("checkout", &self.checkout)
            .finish_non_exhaustive()
    }
}
