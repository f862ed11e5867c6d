use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use tower::util::Oneshot;
use tower_service::Service;

use super::future::ResponseFuture;
use super::gate::Gate;
use super::permit::Admitted;
use crate::checkout::Checkout;
use crate::error::{BoxError, PoolError};
use crate::record::inventory::{Availability, Counts, Inventory};

/// A [`Service<Checkout>`](tower_service::Service) behind a [`Gate`].
///
/// The response future takes the permit, not `poll_ready`: a service that is ready and never called
/// would keep the permit. The response holds the permit until it is dropped, whereas tower's
/// `ConcurrencyLimit` frees it as soon as the response arrives.
#[derive(Debug, Clone)]
pub struct Admit<S> {
    pub(super) inner: S,
    pub(super) gate: Arc<Gate>,
}

impl<S> Admit<S> {
    /// Returns the gate, which controls admission.
    pub fn gate(&self) -> &Arc<Gate> {
        &self.gate
    }

    /// Returns the inner service.
    pub fn get_ref(&self) -> &S {
        &self.inner
    }
}

impl<S: Clone> Admit<S> {
    /// Admits a checkout and then calls `call`. Skips `poll_ready` of the inner service, so that
    /// service must always be ready.
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
        // The admitted checkout awaits the readiness of the inner service behind the gate.
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, checkout: Checkout) -> Self::Future {
        self.enter(checkout, Oneshot::new)
    }
}

/// Forwards to the inner service. Availability and timeout are the gate's.
impl<S: Inventory> Inventory for Admit<S> {
    fn counts(&self) -> Counts {
        self.inner.counts()
    }

    fn inner(&self) -> Option<&dyn Inventory> {
        Some(&self.inner)
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
}
