//! The layers and services of a pool's tower stack, with their futures and guards.
//!
//! [`Pool`](crate::Pool) is this stack with a name on it, so most applications need nothing from here. An
//! application that puts the stack together itself, over a bb8 pool that it has, starts with
//! [`ObserveLayer`] and [`PoolService`]:
//!
//! ```text
//! ObserveLayer ─▶ Observe        spans, metrics, the record of who holds a connection
//!   AdmitLayer ─▶ Admit          a fair queue with a timeout and load shedding
//!                 PoolService    takes a connection from bb8, checks it, gives it back
//! ```
//!
//! All of them are a `Service<Checkout>`; each answers with a guard that dereferences to the connection.
//!
//! [`ExistingPool`] and [`ExistingConnection`] name the types of such a stack.

use diesel_async::pooled_connection::AsyncDieselConnectionManager;

pub use crate::admit::{Admit, AdmitLayer, Admitted, Gate, ResponseFuture as AdmitFuture};
#[doc(hidden)]
pub use crate::checkout::query_context::ContextSlot;
pub use crate::checkout::{ConnectionFacts, PooledGuard, TransactionState};
pub use crate::connection::{
    ExistingLease, Lease, Manager, PoolService, ResponseFuture as LeaseFuture, WarmUp,
};
#[doc(hidden)]
pub use crate::connection::{ExistingShared, Managed, OwnShared};
pub use crate::observe::{Observe, ObserveLayer, Observed, ResponseFuture as ObserveFuture};
pub use crate::pool::Stack;
pub use crate::record::inventory::{Availability, Counts, Inventory};
pub use crate::record::pool_events::{CloseReason, PoolEvents};
pub use crate::report::source::{Source, SourceLayer, WithSource};
pub use crate::request::{Attributed, AttributedBody, AttributedFuture, RequestLayer, Route};

/// An existing bb8 pool under [`ObserveLayer`]. It takes the place of `bb8::Pool<C>` in the app's types.
///
/// ```
/// # #[cfg(feature = "sqlite")] mod doc {
/// use diesel_async::pooled_connection::bb8::Pool;
/// use poolscope::backend::AsyncSqliteConnection;
/// use poolscope::service::{ExistingConnection, ExistingPool};
/// use poolscope::{ObserveLayer, PoolError, PoolService};
/// use tower::Layer;
///
/// struct AppState {
///     pool: ExistingPool<AsyncSqliteConnection>,
/// }
///
/// impl AppState {
///     fn new(theirs: Pool<AsyncSqliteConnection>) -> Self {
///         let pool = ObserveLayer::new("orders").layer(PoolService::from(theirs));
///         Self { pool }
///     }
///
///     async fn conn(&self) -> Result<ExistingConnection<AsyncSqliteConnection>, PoolError> {
///         self.pool.get().await
///     }
/// }
/// # #[tokio::main] pub async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let manager = diesel_async::pooled_connection::AsyncDieselConnectionManager::new(":memory:");
/// # let state = AppState::new(Pool::builder().max_size(1).build(manager).await?);
/// # drop(state.conn().await?); Ok(()) }
/// # } #[cfg(feature = "sqlite")] fn main() { doc::main().unwrap() } #[cfg(not(feature = "sqlite"))] fn main() {}
/// ```
pub type ExistingPool<C> = Observe<PoolService<AsyncDieselConnectionManager<C>>>;

/// A connection of an [`ExistingPool`]. It takes the place of `bb8::PooledConnection<'_, C>`.
pub type ExistingConnection<C> = Observed<ExistingLease<C>>;
