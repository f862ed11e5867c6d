//! Records each checkout: its span, its metrics, and the pool's current holders and waiters.
//!
//! [`ObserveLayer`] wraps any [`Service<Checkout>`](tower_service::Service) that implements
//! [`Inventory`](crate::service::Inventory). It only observes and makes no decisions.
//!
//! ```
//! # #[cfg(feature = "sqlite")] mod doc {
//! use diesel_async::pooled_connection::{AsyncDieselConnectionManager, bb8::Pool};
//! use diesel_async::sync_connection_wrapper::SyncConnectionWrapper;
//! use poolscope::{ObserveLayer, PoolService};
//! use tower::ServiceBuilder;
//!
//! type Sqlite = SyncConnectionWrapper<diesel::SqliteConnection>;
//!
//! # #[tokio::main] pub async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! // An existing pool. It stays as it is.
//! let theirs: Pool<Sqlite> = Pool::builder()
//!     .max_size(1)
//!     .build(AsyncDieselConnectionManager::new(":memory:"))
//!     .await?;
//!
//! let orders = ServiceBuilder::new()
//!     .layer(ObserveLayer::new("orders"))
//!     .service(PoolService::from(theirs));
//!
//! let held = orders.get().await?;
//! assert_eq!(orders.status().checked_out, 1);
//! drop(held);
//! assert_eq!(orders.status().checked_out, 0);
//! # Ok(()) }
//! # } #[cfg(feature = "sqlite")] fn main() { doc::main().unwrap() } #[cfg(not(feature = "sqlite"))] fn main() {}
//! ```

mod future;
mod guard;
mod layer;
mod service;
pub(crate) mod span;
#[cfg(test)]
mod tests;

pub use self::future::ResponseFuture;
pub use self::guard::Observed;
pub use self::layer::ObserveLayer;
pub use self::service::Observe;
