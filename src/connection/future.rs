//! The future of a checkout: a connection at once, or a wait for one.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures_util::FutureExt;
use futures_util::future::BoxFuture;

use super::service::{Managed, Shared};
use crate::checkout::Checkout;
use crate::error::{PoolError, Rejection};

/// The future of a lease that has to wait.
pub(super) type Awaited<L> = BoxFuture<'static, Result<L, PoolError>>;

/// The future of [`PoolService`](super::PoolService).
#[must_use = "futures do nothing unless polled"]
pub struct ResponseFuture<M: Managed> {
    shared: Arc<Shared<M>>,
    checkout: Checkout,
    /// `None` until the checkout has to wait. Most never do.
    awaited: Option<Awaited<M::Lease>>,
}

impl<M: Managed> ResponseFuture<M> {
    pub(super) fn new(shared: Arc<Shared<M>>, checkout: Checkout) -> Self {
        Self {
            shared,
            checkout,
            awaited: None,
        }
    }
}

impl<M: Managed> Future for ResponseFuture<M> {
    type Output = Result<M::Lease, PoolError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut awaited = match self.awaited.take() {
            Some(awaited) => awaited,
            None => match M::lease(&self.shared, self.checkout, cx) {
                Ok(lease) => return Poll::Ready(Ok(lease)),
                Err(awaited) => awaited,
            },
        };
        match awaited.poll_unpin(cx) {
            Poll::Pending if !self.checkout.waits() => {
                M::abandon(awaited);
                Poll::Ready(Err(PoolError::Rejected(Rejection::WouldWait)))
            }
            Poll::Pending => {
                self.awaited = Some(awaited);
                Poll::Pending
            }
            ready => ready,
        }
    }
}

impl<M: Managed> fmt::Debug for ResponseFuture<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseFuture")
            .field("checkout", &self.checkout)
            .finish_non_exhaustive()
    }
}
