use std::sync::{Arc, Weak};
use std::task::{Context, Poll};
use std::time::Duration;

use opentelemetry::KeyValue;
use tower::util::Oneshot;
use tower_service::Service;

use super::future::ResponseFuture;
use super::gate::Gate;
use super::permit::Admitted;
use crate::checkout::Checkout;
use crate::error::{BoxError, PoolError};
use crate::inventory::{Availability, Counts, Inventory};
use crate::lifecycle::Lifecycle;
use crate::totals::Totals;

/// A [`Service<Checkout>`](tower_service::Service) behind a [`Gate`].
///
/// The permit is taken in the response future, not in `poll_ready`: a service that was made ready
/// and never called would sit on it. It is held by the response, unlike that of tower's
/// `ConcurrencyLimit`, which is free again as soon as the response is there.
#[derive(Debug, Clone)]
pub struct Admit<S> {
    inner: S,
    gate: Arc<Gate>,
}

impl<S> Admit<S> {
    pub(super) fn new(inner: S, gate: Arc<Gate>) -> Self {
        Self { inner, gate }
    }

    /// The handle to the gate.
    pub fn gate(&self) -> &Arc<Gate> {
        &self.gate
    }

    /// The inner service.
    pub fn get_ref(&self) -> &S {
        &self.inner
    }
}

impl<S: Clone> Admit<S> {
    /// As [`call`](Service::call), of a service that is always ready and is called in a way of its own.
    pub(crate) fn enter<F>(
        &self,
        checkout: Checkout,
        call: fn(S, Checkout) -> F,
    ) -> ResponseFuture<S, F> {
        ResponseFuture::new(self.inner.clone(), call, Arc::clone(&self.gate), checkout)
    }
}

impl<S> Service<Checkout> for Admit<S>
where
    S: Service<Checkout> + Clone,
    S::Error: Into<BoxError>,
{
    type Response = Admitted<S::Response>;
    type Error = PoolError;
    type Future = ResponseFuture<S>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), PoolError>> {
        // Readiness of the inner service is awaited behind the gate, by the one whose turn it is.
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, checkout: Checkout) -> Self::Future {
        self.enter(checkout, Oneshot::new)
    }
}

/// What the service underneath has; whether it is handed out, and within which time, the gate says.
impl<S: Inventory> Inventory for Admit<S> {
    fn counts(&self) -> Counts {
        self.inner.counts()
    }

    fn overflow(&self) -> u32 {
        self.inner.overflow()
    }

    fn database(&self) -> Vec<KeyValue> {
        self.inner.database()
    }

    fn availability(&self) -> Availability {
        let gate = &self.gate;
        match (gate.is_closed(), gate.admitted()) {
            (false, _) if gate.is_suspended() => Availability::Suspended,
            (false, _) => self.inner.availability(),
            (true, 0) => Availability::Closed,
            (true, _) => Availability::Draining,
        }
    }

    fn timeout(&self) -> Option<Duration> {
        Some(self.gate.timeout())
    }

    fn wait_target(&self) -> Option<Duration> {
        self.inner.wait_target()
    }

    fn sees_transactions(&self) -> bool {
        self.inner.sees_transactions()
    }

    fn completed(&self, totals: Totals) -> Totals {
        self.inner.completed(totals)
    }

    fn report_to(&self, observer: Weak<dyn Lifecycle>) {
        self.inner.report_to(observer);
    }
}
