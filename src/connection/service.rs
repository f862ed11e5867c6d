//! The bottom of the tower stack.

use std::fmt;
use std::sync::{Arc, Weak};
use std::task::{Context, Poll};
use std::time::Duration;

use diesel_async::pooled_connection::AsyncDieselConnectionManager;
use futures_util::FutureExt;
use futures_util::future::{BoxFuture, poll_fn};
use opentelemetry::KeyValue;
use tower_service::Service;

use super::care::Care;
use super::existing::ExistingCare;
use super::lease::Lease;
use super::manager::Manager;
use super::opener::Opener;
use crate::backend::{Activity, Backend, ConnectError, Lane, LaneSession, OpenLane, from_query};
use crate::checkout::{Checkout, Held};
use crate::error::{PoolError, Rejection};
use crate::inventory::{Counts, Inventory};
use crate::lifecycle::{CloseReason, Lifecycle};
use crate::totals::Totals;

/// A check-in that takes longer than this many milliseconds to reach bb8 has lost its thread.
const CLOSE_TRIES: u32 = 100;

/// A bb8 manager whose pool can be the bottom of a stack: [`Manager`], and diesel-async's own
/// [`AsyncDieselConnectionManager`].
#[doc(hidden)]
pub trait Managed: bb8::ManageConnection {
    /// The diesel connection.
    type Diesel: Backend;
    /// The guard that derefs to it.
    type Lease: Held + Send;
    /// What is shared beside the pool.
    type Care: Clone + Send + Sync;

    fn lease(
        pool: &bb8::Pool<Self>,
        care: &Self::Care,
        checkout: Checkout,
    ) -> BoxFuture<'static, Result<Self::Lease, PoolError>>;
    /// Gives up a lease that has to wait.
    fn abandon(lease: BoxFuture<'static, Result<Self::Lease, PoolError>>) {
        drop(lease);
    }
    fn counts(pool: &bb8::Pool<Self>, care: &Self::Care) -> Counts;
    fn overflow(pool: &bb8::Pool<Self>, care: &Self::Care) -> u32 {
        Self::counts(pool, care).overflow()
    }
    fn dedicated(
        pool: &bb8::Pool<Self>,
        care: &Self::Care,
    ) -> BoxFuture<'static, Result<Self::Diesel, ConnectError>>;
    fn observe(care: &Self::Care, observer: Weak<dyn Lifecycle>) {
        let _ = (care, observer);
    }
    fn process_ids(care: &Self::Care) -> Option<Vec<u64>> {
        let _ = care;
        None
    }
    fn database(care: &Self::Care) -> Vec<KeyValue>;
    fn timeout(pool: &bb8::Pool<Self>) -> Option<Duration> {
        let _ = pool;
        None
    }
    fn completed(pool: &bb8::Pool<Self>, totals: Totals) -> Totals {
        let _ = pool;
        totals
    }
}

/// A bb8 pool as a [`Service<Checkout>`](tower_service::Service): one of ours (inside
/// [`Pool`](crate::Pool)), or the one that an app already has, by [`From`].
///
/// Cheap to clone: each checkout clones its stack.
pub struct PoolService<M: Managed> {
    shared: Arc<Shared<M>>,
}

struct Shared<M: Managed> {
    pool: bb8::Pool<M>,
    care: M::Care,
    lane: Arc<Lane>,
}

impl<M: Managed> PoolService<M> {
    fn over(pool: bb8::Pool<M>, care: M::Care) -> Self {
        let (of, with) = (pool.clone(), care.clone());
        let open: OpenLane = Box::new(move || {
            let dedicated = M::dedicated(&of, &with);
            Box::pin(async move {
                let connection = dedicated.await?;
                Ok(Box::new(OnLane(connection)) as Box<dyn LaneSession>)
            })
        });
        let lane = Lane::new(open);
        Self {
            shared: Arc::new(Shared { pool, care, lane }),
        }
    }

    /// The same pool, with other care.
    pub(super) fn with_care(self, care: M::Care) -> Self {
        Self::over(self.shared.pool.clone(), care)
    }

    /// The bb8 pool.
    pub fn get_ref(&self) -> &bb8::Pool<M> {
        &self.shared.pool
    }

    pub(crate) fn lane(&self) -> &Arc<Lane> {
        &self.shared.lane
    }

    pub(crate) fn care(&self) -> &M::Care {
        &self.shared.care
    }

    pub(crate) fn process_ids(&self) -> Option<Vec<u64>> {
        M::process_ids(&self.shared.care)
    }

    pub(crate) async fn dedicated(&self) -> Result<M::Diesel, ConnectError> {
        M::dedicated(&self.shared.pool, &self.shared.care).await
    }
}

impl<C: Backend> PoolService<Manager<C>> {
    /// Closes what is idle; what is in use closes when it comes back.
    pub(crate) async fn close(&self) {
        self.shared.care.care.close();
        self.shared.lane.close().await;
        // bb8 has no way to empty a pool, and with the manager closed it opens none meanwhile. A
        // connection on its way back is counted as idle a moment before bb8 has it.
        for _ in 0..CLOSE_TRIES {
            while let Some(Ok(mut entry)) = self.shared.pool.get_owned().now_or_never() {
                entry.take();
                entry.retired = Some(CloseReason::Shutdown);
            }
            if self.shared.care.care.counts().idle == 0 {
                return;
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }
}

impl<C> From<bb8::Pool<AsyncDieselConnectionManager<C>>>
    for PoolService<AsyncDieselConnectionManager<C>>
where
    C: Backend,
    AsyncDieselConnectionManager<C>: Managed<Care = ExistingCare>,
{
    fn from(pool: bb8::Pool<AsyncDieselConnectionManager<C>>) -> Self {
        Self::over(pool, ExistingCare::default())
    }
}

/// What the service of a pool of ours shares with its manager.
#[doc(hidden)]
pub struct OwnCare<C> {
    pub(crate) care: Arc<Care>,
    pub(super) opener: Opener<C>,
}

impl<C> fmt::Debug for OwnCare<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OwnCare")
            .field("care", &self.care)
            .finish_non_exhaustive()
    }
}

impl<C: Backend> PoolService<Manager<C>> {
    /// Over a bb8 pool that only hands connections out and takes them back: no probing, no reaper,
    /// no `min_idle`, no retries of its own. It dials when asked, and never more than `max_size`.
    pub(crate) fn new(manager: Manager<C>, care: &Arc<Care>) -> Self {
        let own = Arc::new(OwnCare {
            care: Arc::clone(care),
            opener: manager.opener.clone(),
        });
        let settings = &care.settings;
        let pool = bb8::Pool::builder()
            .max_size(settings.pool_size.saturating_add(settings.max_overflow))
            .test_on_check_out(false)
            .max_lifetime(None)
            .idle_timeout(None)
            .retry_connection(false)
            .error_sink(Box::new(care.dials.sink()))
            // The gate's deadline rules; bb8's is out of its way.
            .connection_timeout(Duration::from_secs(30 * 24 * 3600))
            // The warmest first: what load no longer needs ages and can be recycled.
            .queue_strategy(bb8::QueueStrategy::Lifo)
            .build_unchecked(manager);
        Self::over(pool, own)
    }
}

impl<C: Backend> Managed for Manager<C> {
    type Diesel = C;
    type Lease = Lease<C>;
    type Care = Arc<OwnCare<C>>;

    fn lease(
        pool: &bb8::Pool<Self>,
        own: &Arc<OwnCare<C>>,
        checkout: Checkout,
    ) -> BoxFuture<'static, Result<Lease<C>, PoolError>> {
        Box::pin(Lease::checkout(pool.clone(), Arc::clone(own), checkout))
    }

    fn counts(_: &bb8::Pool<Self>, own: &Arc<OwnCare<C>>) -> Counts {
        own.care.counts()
    }

    fn dedicated(
        _: &bb8::Pool<Self>,
        own: &Arc<OwnCare<C>>,
    ) -> BoxFuture<'static, Result<C, ConnectError>> {
        let opener = own.opener.clone();
        Box::pin(async move { opener.open().await.map(|dialed| dialed.connection) })
    }

    fn observe(own: &Arc<OwnCare<C>>, observer: Weak<dyn Lifecycle>) {
        own.care.observe(observer);
    }

    fn process_ids(own: &Arc<OwnCare<C>>) -> Option<Vec<u64>> {
        own.care.process_ids()
    }

    fn database(own: &Arc<OwnCare<C>>) -> Vec<KeyValue> {
        own.care.settings.queries.attributes.clone()
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
    type Future = BoxFuture<'static, Result<M::Lease, PoolError>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), PoolError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, checkout: Checkout) -> Self::Future {
        let mut lease = M::lease(&self.shared.pool, &self.shared.care, checkout);
        if checkout.waits() {
            return lease;
        }
        Box::pin(async move {
            match poll_fn(|cx| Poll::Ready(lease.poll_unpin(cx))).await {
                Poll::Ready(answer) => answer,
                Poll::Pending => {
                    M::abandon(lease);
                    Err(PoolError::Rejected(Rejection::WouldWait))
                }
            }
        })
    }
}

impl<M: Managed> Inventory for PoolService<M> {
    fn counts(&self) -> Counts {
        M::counts(&self.shared.pool, &self.shared.care)
    }

    fn overflow(&self) -> u32 {
        M::overflow(&self.shared.pool, &self.shared.care)
    }

    fn database(&self) -> Vec<KeyValue> {
        M::database(&self.shared.care)
    }

    fn timeout(&self) -> Option<Duration> {
        M::timeout(&self.shared.pool)
    }

    fn completed(&self, totals: Totals) -> Totals {
        M::completed(&self.shared.pool, totals)
    }

    fn report_to(&self, observer: Weak<dyn Lifecycle>) {
        M::observe(&self.shared.care, observer);
    }
}

/// A diesel connection on the monitoring lane.
struct OnLane<C>(C);

impl<C: Backend> LaneSession for OnLane<C> {
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

impl<M: Managed> fmt::Debug for PoolService<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PoolService")
            .field("counts", &self.counts())
            .finish_non_exhaustive()
    }
}
