//! An existing bb8 pool of the app: used as it is, without changing its behaviour.

use std::fmt;
use std::ops::{Deref, DerefMut};
use std::sync::Arc;
use std::task::Context;
use std::time::Duration;

use diesel_async::AsyncConnection;
use diesel_async::pooled_connection::{AsyncDieselConnectionManager, PoolError as DieselPoolError};
use futures_util::future::BoxFuture;
use opentelemetry::KeyValue;
use opentelemetry_semantic_conventions::attribute::DB_SYSTEM_NAME;
use tokio::time::timeout;

use super::future::Awaited;
use super::service::{Managed, PoolService, Shared};
use crate::backend::{Backend, ConnectError, from_diesel};
use crate::checkout::{Checkout, ConnectionFacts, PooledGuard};
use crate::error::PoolError;
use crate::query::{QueryInstrumentation, QueryOptions, QueryState};
use crate::record::inventory::Counts;
use crate::record::totals::Totals;
use crate::settings::{DatabaseKind, Settings};

/// The time limit of opening a connection outside of the pool, if the pool's own is shorter.
const SHORTEST_DIAL: Duration = Duration::from_secs(2);

/// The guard of an existing pool. Information that bb8 does not provide is unknown, never guessed.
pub struct ExistingLease<C: Backend>
where
    AsyncDieselConnectionManager<C>: bb8::ManageConnection<Connection = C, Error = DieselPoolError>,
{
    /// Boxed, because it contains the connection and every layer moves it.
    connection: Box<bb8::PooledConnection<'static, AsyncDieselConnectionManager<C>>>,
    queries: Option<WatchedQueries>,
}

/// The query state of a held connection whose queries are watched.
struct WatchedQueries {
    state: Arc<QueryState>,
    options: Arc<QueryOptions>,
}

/// The state that poolscope keeps for an existing pool.
#[doc(hidden)]
#[derive(Debug, Clone, Default)]
pub struct ExistingShared {
    /// Set if the pool's queries are watched.
    queries: Option<Arc<QueryOptions>>,
}

impl<C: Backend> PoolService<AsyncDieselConnectionManager<C>>
where
    AsyncDieselConnectionManager<C>: Managed<Diesel = C, State = ExistingShared>,
{
    /// Watches the queries too, as [`Pool`](crate::Pool) does: spans, durations, N+1 detection and
    /// the database time of each hold.
    ///
    /// At each checkout, the connection gets an instrumentation that replaces any that the app has
    /// set on it. Diesel's default instrumentation still receives every event. Only the settings that
    /// begin with `query_`, `echo` and `n_plus_one` apply.
    ///
    /// ```
    /// # #[cfg(feature = "sqlite")] mod doc {
    /// # use diesel_async::pooled_connection::{AsyncDieselConnectionManager, bb8::Pool};
    /// # use poolscope::{ObserveLayer, PoolService, Settings};
    /// # use poolscope::backend::AsyncSqliteConnection;
    /// # use tower::ServiceBuilder;
    /// # #[tokio::main] pub async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let url = ":memory:";
    /// # let theirs: Pool<AsyncSqliteConnection> = Pool::builder().build(AsyncDieselConnectionManager::new(url)).await?;
    /// let orders = ServiceBuilder::new()
    ///     .layer(ObserveLayer::new("orders"))
    ///     .service(PoolService::from(theirs).watch_queries(&Settings::new(url)));
    /// # drop(orders.get().await?);
    /// # Ok(()) }
    /// # } #[cfg(feature = "sqlite")] fn main() { doc::main().unwrap() } #[cfg(not(feature = "sqlite"))] fn main() {}
    /// ```
    #[must_use]
    pub fn watch_queries(self, settings: &Settings) -> Self {
        let options = QueryOptions {
            // The app's pool resets nothing.
            session_changes: false,
            ..QueryOptions::new(C::KIND, settings, Vec::new())
        };
        self.with_state(ExistingShared {
            queries: Some(Arc::new(options)),
        })
    }
}

impl<C: Backend> Managed for AsyncDieselConnectionManager<C>
where
    Self: bb8::ManageConnection<Connection = C, Error = DieselPoolError>,
{
    type Diesel = C;
    type Lease = ExistingLease<C>;
    type State = ExistingShared;

    fn lease(
        pool: &Arc<Shared<Self>>,
        _: Checkout,
        _: &mut Context<'_>,
    ) -> Result<ExistingLease<C>, Awaited<ExistingLease<C>>> {
        let Shared { pool, policy, .. } = &**pool;
        let (pool, options) = (pool.clone(), policy.queries.clone());
        Err(Box::pin(async move {
            match pool.get_owned().await {
                Ok(connection) => {
                    let mut connection = Box::new(connection);
                    let queries = options.map(|options| watch(&mut **connection, options));
                    Ok(ExistingLease {
                        connection,
                        queries,
                    })
                }
                Err(bb8::RunError::User(error)) => {
                    Err(PoolError::ConnectFailed(from_diesel(error)))
                }
                Err(bb8::RunError::TimedOut) => {
                    Err(PoolError::timed_out(pool.config().connection_timeout))
                }
            }
        }))
    }

    /// Finishes the checkout in the background. bb8 may be pinging; if it were cancelled, it would put
    /// the connection back with the ping still running.
    fn abandon(lease: Awaited<ExistingLease<C>>) {
        tokio::spawn(async move { drop(lease.await) });
    }

    fn counts(pool: &bb8::Pool<Self>, _: &ExistingShared) -> Counts {
        let state = pool.state();
        Counts::new(
            state.connections,
            state.idle_connections,
            pool.config().max_size,
            0,
        )
    }

    fn overflow(_: &bb8::Pool<Self>, _: &ExistingShared) -> u32 {
        0
    }

    fn dedicated(
        pool: &bb8::Pool<Self>,
        _: &ExistingShared,
    ) -> BoxFuture<'static, Result<C, ConnectError>> {
        let pool = pool.clone();
        Box::pin(async move {
            let limit = pool.config().connection_timeout.max(SHORTEST_DIAL);
            let dial = timeout(limit, pool.dedicated_connection()).await;
            dial.map_err(|_| ConnectError::no_connection_within(limit))?
                .map_err(from_diesel)
        })
    }

    fn database(_: &ExistingShared) -> Vec<KeyValue> {
        vec![KeyValue::new(DB_SYSTEM_NAME, C::KIND.system_name())]
    }

    fn timeout(pool: &bb8::Pool<Self>) -> Option<Duration> {
        Some(pool.config().connection_timeout)
    }

    fn completed(pool: &bb8::Pool<Self>, totals: Totals) -> Totals {
        totals.of_existing(&pool.state().statistics)
    }
}

fn watch<C: AsyncConnection>(connection: &mut C, options: Arc<QueryOptions>) -> WatchedQueries {
    let watch = QueryInstrumentation::new(Arc::clone(&options), None, false);
    let state = Arc::clone(&watch.state);
    connection.set_instrumentation(watch);
    WatchedQueries { state, options }
}

impl<C: Backend> Drop for ExistingLease<C>
where
    AsyncDieselConnectionManager<C>: bb8::ManageConnection<Connection = C, Error = DieselPoolError>,
{
    fn drop(&mut self) {
        // A cancelled query ends now, not at the connection's next checkout. SQLite's query has already
        // been waited for.
        if let Some(WatchedQueries { state, options }) = &self.queries
            && state.in_flight() > 0
            && C::KIND != DatabaseKind::Sqlite
        {
            watch(&mut **self.connection, Arc::clone(options));
        }
    }
}

impl<C: Backend> Deref for ExistingLease<C>
where
    AsyncDieselConnectionManager<C>: bb8::ManageConnection<Connection = C, Error = DieselPoolError>,
{
    type Target = C;

    fn deref(&self) -> &C {
        &self.connection
    }
}

impl<C: Backend> DerefMut for ExistingLease<C>
where
    AsyncDieselConnectionManager<C>: bb8::ManageConnection<Connection = C, Error = DieselPoolError>,
{
    fn deref_mut(&mut self) -> &mut C {
        &mut self.connection
    }
}

impl<C: Backend> PooledGuard for ExistingLease<C>
where
    AsyncDieselConnectionManager<C>: bb8::ManageConnection<Connection = C, Error = DieselPoolError>,
{
    fn facts(&self) -> Option<Arc<dyn ConnectionFacts>> {
        let queries = self.queries.as_ref()?;
        Some(Arc::clone(&queries.state) as Arc<dyn ConnectionFacts>)
    }
}

impl<C: Backend> fmt::Debug for ExistingLease<C>
where
    AsyncDieselConnectionManager<C>: bb8::ManageConnection<Connection = C, Error = DieselPoolError>,
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ExistingLease").finish_non_exhaustive()
    }
}
