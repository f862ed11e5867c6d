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

use super::gate::{Gate, GateClosed};
use super::permit::{Admitted, Permit};
use crate::checkout::Checkout;
use crate::error::{BoxError, PoolError, Rejection};

type Turn = Pin<Box<dyn Future<Output = Result<Permit, GateClosed>> + Send>>;

pin_project! {
    /// The future of [`Admit`](super::Admit).
    #[must_use = "futures do nothing unless polled"]
    pub struct ResponseFuture<S>
    where
        S: Service<Checkout>,
    {
        gate: Arc<Gate>,
        checkout: Checkout,
        start: Instant,
        // Armed at the first `Pending`: most checkouts never wait.
        #[pin]
        deadline: Option<Sleep>,
        #[pin]
        step: Step<S>,
    }
}

pin_project! {
    #[project = StepProjection]
    enum Step<S>
    where
        S: Service<Checkout>,
    {
        Arriving { inner: Option<S> },
        Queued { inner: Option<S>, turn: Turn },
        Inside { #[pin] response: Oneshot<S, Checkout>, permit: Option<Permit> },
        Done,
    }
}

impl<S: Service<Checkout>> ResponseFuture<S> {
    pub(super) fn new(inner: S, gate: Arc<Gate>, checkout: Checkout) -> Self {
        Self {
            gate,
            checkout,
            start: Instant::now(),
            deadline: None,
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
        match advance(this.gate, *this.checkout, this.step.as_mut(), cx) {
            Poll::Ready(outcome) => {
                this.step.set(Step::Done);
                return Poll::Ready(outcome);
            }
            Poll::Pending if !this.checkout.waits() => {
                // Dropping the step gives back the place or the permit at once.
                this.step.set(Step::Done);
                return Poll::Ready(Err(PoolError::Rejected(Rejection::WouldWait)));
            }
            Poll::Pending => {}
        }
        if this.deadline.is_none() {
            this.deadline.set(Some(sleep_until(deadline(
                *this.start,
                this.gate.timeout(),
            ))));
        }
        if let Some(deadline) = this.deadline.as_mut().as_pin_mut() {
            ready!(deadline.poll(cx));
        }
        this.step.set(Step::Done);
        Poll::Ready(Err(PoolError::timed_out(this.start.elapsed())))
    }
}

/// A timeout that lies beyond the clock's end is none.
fn deadline(start: Instant, timeout: Duration) -> Instant {
    const CENTURY: Duration = Duration::from_secs(100 * 365 * 24 * 3600);
    start.checked_add(timeout.min(CENTURY)).unwrap_or(start)
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
            StepProjection::Arriving { inner } => match gate.try_admit() {
                Err(GateClosed) => return Poll::Ready(Err(PoolError::Closed)),
                Ok(Some(permit)) => inside(inner.take(), checkout, permit),
                Ok(None) => Step::Queued {
                    inner: inner.take(),
                    turn: Box::pin(Arc::clone(gate).admit()),
                },
            },
            StepProjection::Queued { inner, turn } => match ready!(turn.as_mut().poll(cx)) {
                Err(GateClosed) => return Poll::Ready(Err(PoolError::Closed)),
                Ok(permit) => inside(inner.take(), checkout, permit),
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

impl<S: Service<Checkout>> std::fmt::Debug for ResponseFuture<S> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ResponseFuture")
            .field("checkout", &self.checkout)
            .finish_non_exhaustive()
    }
}
