use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::task::{Context, Poll};

use tower::util::Oneshot;
use tower_service::Service;

use crate::checkout::{Checkout, PooledGuard};
use crate::error::{BoxError, PoolError};
use crate::observe::future::ResponseFuture;
use crate::observe::guard::Observed;
use crate::record::recorder::Recorder;

/// An observed [`Service<Checkout>`](tower_service::Service), with reports and monitoring routes.
///
/// It is cheap to clone, and all clones share the recorded state.
#[derive(Clone)]
pub struct Observe<S> {
    pub(super) inner: S,
    pub(crate) recorder: Arc<Recorder>,
}

impl<S> Observe<S> {
    /// Returns the pool's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.recorder.name
    }

    /// Returns a reference to the inner service.
    pub fn get_ref(&self) -> &S {
        &self.inner
    }

    /// Observes a checkout whose inner future already exists.
    pub(crate) fn observed<F>(&self, checkout: Checkout, inner: F) -> ResponseFuture<F> {
        ResponseFuture::new(inner, &self.recorder, checkout)
    }
}

impl<S> Observe<S>
where
    S: Service<Checkout> + Clone,
    S::Response: PooledGuard,
    S::Error: Into<BoxError>,
{
    /// Returns a connection, and waits for one if necessary. Dropping the future gives up the position
    /// in the queue.
    ///
    /// # Errors
    /// Returns a [`PoolError`] with the reason. A timeout also reports the time waited and the longest
    /// holder.
    #[track_caller]
    pub fn get(&self) -> impl Future<Output = Result<Observed<S::Response>, PoolError>> + use<S> {
        self.checkout(Checkout::new())
    }

    /// Returns a connection like [`get`](Self::get), whose connections are owned, too. Exists for apps
    /// that migrate from bb8.
    ///
    /// # Errors
    /// Returns the same errors as [`get`](Self::get).
    #[track_caller]
    pub fn get_owned(
        &self,
    ) -> impl Future<Output = Result<Observed<S::Response>, PoolError>> + use<S> {
        self.get()
    }

    /// Returns a connection for a checkout with a label, or on behalf of another source line.
    ///
    /// # Errors
    /// Returns the same errors as [`get`](Self::get).
    pub fn checkout(
        &self,
        checkout: Checkout,
    ) -> impl Future<Output = Result<Observed<S::Response>, PoolError>> + use<S> {
        self.observed(checkout, Oneshot::new(self.inner.clone(), checkout))
    }
}

impl<S> Service<Checkout> for Observe<S>
where
    S: Service<Checkout>,
    S::Response: PooledGuard,
    S::Error: Into<BoxError>,
{
    type Response = Observed<S::Response>;
    type Error = PoolError;
    type Future = ResponseFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), PoolError>> {
        self.inner
            .poll_ready(cx)
            .map_err(|error| PoolError::from_layer(error.into()))
    }

    fn call(&mut self, checkout: Checkout) -> Self::Future {
        let inner = self.inner.call(checkout);
        self.observed(checkout, inner)
    }
}

impl<S> fmt::Debug for Observe<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Observe")
            .field("name", &self.recorder.name)
            .finish_non_exhaustive()
    }
}
