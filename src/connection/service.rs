//! [`PoolService`]: the bottom of the tower stack.

use std::fmt;
use std::sync::{Arc, Weak};
use std::task::{Context, Poll};
use std::time::Duration;

use diesel_async::pooled_connection::AsyncDieselConnectionManager;
use futures_util::future::BoxFuture;
use opentelemetry::KeyValue;
use tower_service::Service;

use super::existing_pool::ExistingShared;
use super::future::{Awaited, ResponseFuture};
use super::lease::Lease;
use super::manager::Manager;
use super::own_pool::OwnShared;
use crate::backend::{
    Activity, Backend, ConnectError, MonitorConnection, MonitorSession, OpenMonitorConnection,
    from_query,
};
use crate::checkout::{Checkout, PooledGuard};
use crate::error::PoolError;
use crate::record::inventory::{Counts, Inventory};
use crate::record::pool_events::PoolEvents;
use crate::record::totals::Totals;

/// A bb8 manager whose pool can be the bottom of a stack: [`Manager`] and diesel-async's
/// [`AsyncDieselConnectionManager`].
#[doc(hidden)]
pub trait Managed: bb8::ManageConnection {
    /// The diesel connection.
    type Diesel: Backend;
    /// The guard that derefs to the diesel connection.
    type Lease: PooledGuard + Send;
    /// The state shared beside the pool.
    type State: Clone + Send + Sync;

    /// Checks out a connection that is available now, or returns the future to wait for.
    fn lease(
        pool: &Arc<Shared<Self>>,
        checkout: Checkout,
        cx: &mut Context<'_>,
    ) -> Result<Self::Lease, Awaited<Self::Lease>>;
    /// Abandons a lease that has to wait.
    fn abandon(lease: Awaited<Self::Lease>) {
        drop(lease);
    }
    fn counts(pool: &bb8::Pool<Self>, policy: &Self::State) -> Counts;
    fn overflow(pool: &bb8::Pool<Self>, policy: &Self::State) -> u32 {
        Self::counts(pool, policy).overflow()
    }
    fn dedicated(
        pool: &bb8::Pool<Self>,
        policy: &Self::State,
    ) -> BoxFuture<'static, Result<Self::Diesel, ConnectError>>;
    fn observe(policy: &Self::State, observer: Weak<dyn PoolEvents>) {
        let _ = (policy, observer);
    }
    fn database(policy: &Self::State) -> Vec<KeyValue>;
    fn timeout(pool: &bb8::Pool<Self>) -> Option<Duration> {
        let _ = pool;
        None
    }
    fn completed(pool: &bb8::Pool<Self>, totals: Totals) -> Totals {
        let _ = pool;
        totals
    }
}

/// A bb8 pool as a [`Service<Checkout>`](tower_service::Service): either the one inside
/// [`Pool`](crate::Pool) or, through [`From`], one that the app already has.
///
/// Cheap to clone, because each checkout clones its stack.
pub struct PoolService<M: Managed> {
    pub(super) shared: Arc<Shared<M>>,
}

/// The state that the clones of a [`PoolService`] share.
#[doc(hidden)]
pub struct Shared<M: Managed> {
    pub(super) pool: bb8::Pool<M>,
    pub(super) policy: M::State,
    pub(super) monitor: Arc<MonitorConnection>,
}

impl<M: Managed> PoolService<M> {
    pub(super) fn over(pool: bb8::Pool<M>, policy: M::State) -> Self {
        let (of, with) = (pool.clone(), policy.clone());
        let open: OpenMonitorConnection = Box::new(move || {
            let dedicated = M::dedicated(&of, &with);
            Box::pin(async move {
                let connection = dedicated.await?;
                Ok(Box::new(OnMonitorConnection(connection)) as Box<dyn MonitorSession>)
            })
        });
        let monitor = MonitorConnection::new(open);
        Self {
            shared: Arc::new(Shared {
                pool,
                policy,
                monitor,
            }),
        }
    }

    /// Returns the same pool with another shared state.
    pub(super) fn with_state(self, policy: M::State) -> Self {
        Self::over(self.shared.pool.clone(), policy)
    }

    /// Starts a checkout like [`call`](Service::call), without another clone.
    pub(crate) fn lease(self, checkout: Checkout) -> ResponseFuture<M> {
        ResponseFuture::new(self.shared, checkout)
    }

    /// Returns the bb8 pool.
    pub fn get_ref(&self) -> &bb8::Pool<M> {
        &self.shared.pool
    }

    pub(crate) fn monitor(&self) -> &Arc<MonitorConnection> {
        &self.shared.monitor
    }

    pub(crate) fn policy(&self) -> &M::State {
        &self.shared.policy
    }

    pub(crate) async fn dedicated(&self) -> Result<M::Diesel, ConnectError> {
        M::dedicated(&self.shared.pool, &self.shared.policy).await
    }
}

impl<C> From<bb8::Pool<AsyncDieselConnectionManager<C>>>
    for PoolService<AsyncDieselConnectionManager<C>>
where
    C: Backend,
    AsyncDieselConnectionManager<C>: Managed<State = ExistingShared>,
{
    fn from(pool: bb8::Pool<AsyncDieselConnectionManager<C>>) -> Self {
        Self::over(pool, ExistingShared::default())
    }
}

impl<C: Backend> Managed for Manager<C> {
    type Diesel = C;
    type Lease = Lease<C>;
    type State = Arc<OwnShared<C>>;

    fn lease(
        pool: &Arc<Shared<Self>>,
        checkout: Checkout,
        cx: &mut Context<'_>,
    ) -> Result<Lease<C>, Awaited<Lease<C>>> {
        match Lease::at_hand(pool, cx) {
            Ok(lease) => Ok(lease),
            Err(unfit) => Err(Box::pin(Lease::checkout(Arc::clone(pool), checkout, unfit))),
        }
    }

    fn counts(_: &bb8::Pool<Self>, own: &Arc<OwnShared<C>>) -> Counts {
        own.policy.counts()
    }

    fn overflow(_: &bb8::Pool<Self>, own: &Arc<OwnShared<C>>) -> u32 {
        own.policy.overflow()
    }

    fn dedicated(
        _: &bb8::Pool<Self>,
        own: &Arc<OwnShared<C>>,
    ) -> BoxFuture<'static, Result<C, ConnectError>> {
        let own = Arc::clone(own);
        Box::pin(async move { own.open_outside().await })
    }

    fn observe(own: &Arc<OwnShared<C>>, observer: Weak<dyn PoolEvents>) {
        own.policy.observe(observer);
    }

    fn database(own: &Arc<OwnShared<C>>) -> Vec<KeyValue> {
        own.policy.settings.queries.attributes.clone()
    }
}

impl<M: Managed> Clone for PoolService<M> {
    fn clone(&self) -> Self {
        Self {
            shared: Arc::clone(&self.shared),
        }
    }
}

impl<M: Managed> Service<Checkout> for PoolService<M> {
    type Response = M::Lease;
    type Error = PoolError;
    type Future = ResponseFuture<M>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), PoolError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, checkout: Checkout) -> ResponseFuture<M> {
        self.clone().lease(checkout)
    }
}

impl<M: Managed> Inventory for PoolService<M> {
    fn counts(&self) -> Counts {
        M::counts(&self.shared.pool, &self.shared.policy)
    }

    fn overflow(&self) -> u32 {
        M::overflow(&self.shared.pool, &self.shared.policy)
    }

    fn database(&self) -> Vec<KeyValue> {
        M::database(&self.shared.policy)
    }

    fn timeout(&self) -> Option<Duration> {
        M::timeout(&self.shared.pool)
    }

    fn completed(&self, totals: Totals) -> Totals {
        M::completed(&self.shared.pool, totals)
    }

    fn report_to(&self, observer: Weak<dyn PoolEvents>) {
        M::observe(&self.shared.policy, observer);
    }
}

/// A diesel connection used as the monitoring connection.
struct OnMonitorConnection<C>(C);

impl<C: Backend> MonitorSession for OnMonitorConnection<C> {
    fn ping(&mut self) -> BoxFuture<'_, Result<(), ConnectError>> {
        Box::pin(async {
            Backend::probe(&mut self.0)
                .await
                .map_err(|error| from_query(&error))
        })
    }

    fn activity(&mut self) -> BoxFuture<'_, Result<Activity, ConnectError>> {
        Box::pin(async {
            Backend::activity(&mut self.0)
                .await
                .map_err(|error| from_query(&error))
        })
    }
}

impl<M: Managed> fmt::Debug for Shared<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared").finish_non_exhaustive()
    }
}

impl<M: Managed> fmt::Debug for PoolService<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PoolService")
            .field("counts", &self.counts())
            .finish_non_exhaustive()
    }
}
