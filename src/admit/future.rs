//! The way through the gate, step by step, under one deadline.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use pin_project_lite::pin_project;
use tokio::time::{Instant, Sleep, sleep_until};
use tower::util::Oneshot;
use tower_service::Service;

use super::gate::{Entered, Gate, Turn};
use super::permit::{Admitted, Permit};
use super::queue::Refusal;
use crate::checkout::Checkout;
use crate::error::{BoxError, PoolError, Rejection};
use crate::phase::{self, Phase};

pin_project! {
    /// The future of [`Admit`](super::Admit).
    #[must_use = "futures do nothing unless polled"]
    pub struct ResponseFuture<S>
    where
        S: Service<Checkout>,
    {
        gate: Arc<Gate>,
        checkout: Checkout,
        // Most checkouts never wait, and need no clock.
        waiting: Option<Waiting>,
        #[pin]
        alarm: Option<Sleep>,
        #[pin]
        step: Step<S>,
    }
}

/// For how long it goes on.
#[derive(Debug, Clone, Copy)]
struct Waiting {
    since: Instant,
    deadline: Instant,
}

pin_project! {
    #[project = StepProjection]
    enum Step<S>
    where
        S: Service<Checkout>,
    {
        Arriving { inner: Option<S> },
        Queued { inner: Option<S>, #[pin] turn: Turn },
        Inside { #[pin] response: Oneshot<S, Checkout>, permit: Option<Permit> },
        Done,
    }
}

impl<S: Service<Checkout>> ResponseFuture<S> {
    pub(super) fn new(inner: S, gate: Arc<Gate>, checkout: Checkout) -> Self {
        Self {
            gate,
            checkout,
            waiting: None,
            alarm: None,
            step: Step::Arriving { inner: Some(inner) },
        }
    }
}

impl<S> Future for ResponseFuture<S>
where
    S: Service<Checkout>,
    S::Error: Into<BoxError>,
{
    type Output = Result<Admitted<S::Response>, PoolError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        let mut answer = advance(this.gate, *this.checkout, this.step.as_mut(), cx);
        if answer.is_pending() {
            answer = if this.checkout.waits() {
                if this.waiting.is_none() {
                    // Whoever has queued during an outage is not made to wait for news once more.
                    *this.checkout = this.checkout.asked_at(this.checkout.asked());
                }
                let waiting = this
                    .waiting
                    .get_or_insert_with(|| Waiting::from_now(this.gate.timeout()));
                wait(this.gate, *waiting, this.step.as_mut(), this.alarm, cx)
            } else {
                Poll::Ready(Err(PoolError::Rejected(Rejection::WouldWait)))
            };
        }
        if answer.is_ready() {
            // Gives back the place or the permit at once.
            this.step.set(Step::Done);
        }
        answer
    }
}

impl Waiting {
    fn from_now(timeout: Duration) -> Self {
        const CENTURY: Duration = Duration::from_secs(100 * 365 * 24 * 3600);
        let since = Instant::now();
        // A timeout that lies beyond the clock's end is none.
        let deadline = since.checked_add(timeout.min(CENTURY)).unwrap_or(since);
        Self { since, deadline }
    }
}

/// Waits until the deadline, or until it is of no use to queue any longer.
fn wait<S, T>(
    gate: &Gate,
    waiting: Waiting,
    mut step: Pin<&mut Step<S>>,
    mut alarm: Pin<&mut Option<Sleep>>,
    cx: &mut Context<'_>,
) -> Poll<Result<T, PoolError>>
where
    S: Service<Checkout>,
{
    let patience = match &*step {
        Step::Queued { .. } => gate.patience(),
        _ => None,
    };
    if alarm.is_none() {
        let first = patience.and_then(|(first, _)| waiting.since.checked_add(first));
        let until = first.map_or(waiting.deadline, |first| first.min(waiting.deadline));
        alarm.set(Some(sleep_until(until)));
    }
    loop {
        let Some(mut sleep) = alarm.as_mut().as_pin_mut() else {
            unreachable!("it was set above");
        };
        ready!(sleep.as_mut().poll(cx));
        let now = Instant::now();
        if now >= waiting.deadline {
            return Poll::Ready(Err(PoolError::timed_out(now - waiting.since)));
        }
        let mut next = waiting.deadline;
        if let StepProjection::Queued { mut turn, .. } = step.as_mut().project()
            && let Some((_, interval)) = patience
        {
            if let Some(refusal) = turn.overdue(now) {
                return Poll::Ready(Err(refusal.into()));
            }
            next = next.min(now.checked_add(interval).unwrap_or(next));
        }
        sleep.as_mut().reset(next);
    }
}

/// Goes as far as it can without waiting.
fn advance<S>(
    gate: &Arc<Gate>,
    checkout: Checkout,
    mut step: Pin<&mut Step<S>>,
    cx: &mut Context<'_>,
) -> Poll<Result<Admitted<S::Response>, PoolError>>
where
    S: Service<Checkout>,
    S::Error: Into<BoxError>,
{
    loop {
        let next = match step.as_mut().project() {
            StepProjection::Arriving { inner } => match gate.enter()? {
                Some(permit) => inside(inner.take(), checkout, permit),
                None if !checkout.waits() => return Poll::Pending,
                None => match gate.enter_or_wait(Instant::now(), cx.waker())? {
                    Entered::In(permit) => inside(inner.take(), checkout, permit),
                    Entered::Waits(turn) => Step::Queued {
                        inner: inner.take(),
                        turn,
                    },
                },
            },
            StepProjection::Queued { inner, turn } => match turn.poll(cx)? {
                Poll::Ready(permit) => inside(inner.take(), checkout, permit),
                Poll::Pending => {
                    phase::waits_in(Phase::Queued);
                    return Poll::Pending;
                }
            },
            StepProjection::Inside { response, permit } => {
                let inner =
                    ready!(response.poll(cx)).map_err(|e| PoolError::from_layer(e.into()))?;
                let permit = permit
                    .take()
                    .expect("the permit is there until the response is");
                return Poll::Ready(Ok(Admitted::new(inner, permit)));
            }
            StepProjection::Done => panic!("polled after completion"),
        };
        step.set(next);
    }
}

fn inside<S: Service<Checkout>>(inner: Option<S>, checkout: Checkout, permit: Permit) -> Step<S> {
    let inner = inner.expect("the service is there until it is called");
    Step::Inside {
        response: Oneshot::new(inner, checkout),
        permit: Some(permit),
    }
}

impl From<Refusal> for PoolError {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::Closed => Self::Closed,
            Refusal::Suspended => Self::Suspended,
            Refusal::TooManyPending { limit } => {
                Self::Rejected(Rejection::TooManyPending { limit })
            }
            Refusal::Shed { queued } => Self::Rejected(Rejection::Shed { queued }),
        }
    }
}

impl<S: Service<Checkout>> std::fmt::Debug for ResponseFuture<S> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ResponseFuture")
            .field("checkout", &self.checkout)
            .finish_non_exhaustive()
    }
}
