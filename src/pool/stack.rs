//! The tower stack inside `Pool<C>`, below the observation layer.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use tower_service::Service;

use super::runtime_watch::RuntimeWatch;
use crate::admit::{Admit, Admitted, Gate, ResponseFuture as AdmitFuture};
use crate::backend::Backend;
use crate::checkout::Checkout;
use crate::connection::{Lease, Manager, PoolService, ResponseFuture as LeaseFuture};
use crate::error::PoolError;
use crate::record::inventory::{Counts, Inventory};
use crate::settings::{DatabaseKind, Settings};

/// poolscope's own connections behind a fair gate, and the settings of both.
pub struct Stack<C: Backend> {
    pub(super) admit: Admit<PoolService<Manager<C>>>,
    pub(super) built: Arc<Built>,
}

/// The future of a checkout through the gate.
type Taking<C> = AdmitFuture<PoolService<Manager<C>>, LeaseFuture<Manager<C>>>;

/// Shared by all clones: each checkout clones the stack.
pub(super) struct Built {
    pub(super) settings: Arc<Settings>,
    pub(super) resizing: Mutex<()>,
    pub(super) _runtime_watch: RuntimeWatch,
}

impl<C: Backend> Stack<C> {
    /// Returns the gate, which controls admission.
    #[must_use]
    pub fn gate(&self) -> &Arc<Gate> {
        self.admit.gate()
    }

    /// Checks out a connection without cloning the stack, which is always ready.
    pub(super) fn take(&self, checkout: Checkout) -> Taking<C> {
        self.admit.enter(checkout, PoolService::lease)
    }

    /// Changes the limits of the gate and the connections. The connection limit grows first and
    /// shrinks last, so that there are never more permits than permitted connections.
    pub(super) fn resize(&self, pool_size: u32, max_overflow: u32) {
        let _one_at_a_time = self
            .built
            .resizing
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let (gate, service) = (self.admit.gate(), self.admit.get_ref());
        let most = pool_size.saturating_add(max_overflow);
        if most >= gate.capacity() {
            service.resize(pool_size, max_overflow);
            gate.resize(most);
        } else {
            gate.resize(most);
            service.resize(pool_size, max_overflow);
        }
    }
}

impl<C: Backend> Clone for Stack<C> {
    fn clone(&self) -> Self {
        Self {
            admit: self.admit.clone(),
            built: Arc::clone(&self.built),
        }
    }
}

impl<C: Backend> Service<Checkout> for Stack<C> {
    type Response = Admitted<Lease<C>>;
    type Error = PoolError;
    type Future = Taking<C>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), PoolError>> {
        self.admit.poll_ready(cx)
    }

    fn call(&mut self, checkout: Checkout) -> Self::Future {
        self.take(checkout)
    }
}

impl<C: Backend> Inventory for Stack<C> {
    fn counts(&self) -> Counts {
        self.admit.counts()
    }

    fn inner(&self) -> Option<&dyn Inventory> {
        Some(&self.admit)
    }

    fn overflow(&self) -> u32 {
        self.admit.get_ref().overflow()
    }

    fn sees_transactions(&self) -> bool {
        self.built.settings.raw_transactions || C::KIND == DatabaseKind::Postgres
    }

    fn wait_target(&self) -> Option<Duration> {
        Some(self.built.settings.target_wait)
    }
}

impl<C: Backend> fmt::Debug for Stack<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stack")
            .field("settings", &self.built.settings)
            .finish_non_exhaustive()
    }
}
