//! Attributes checkouts and queries to HTTP requests and their routes, and opens request spans.
//!
//! [`RequestLayer`] works on any tower HTTP service, and one layer is enough for all pools of an app.
//! The checkouts and queries of a handler are counted for the request and its route, including those
//! made while the body is sent.
//!
//! ```
//! # #[cfg(all(feature = "sqlite", feature = "axum"))] mod doc {
//! use axum::{Router, extract::State, routing::get};
//! use poolscope::{Pool, PoolError, RequestLayer, Settings};
//! use poolscope::backend::AsyncSqliteConnection;
//!
//! type Sqlite = Pool<AsyncSqliteConnection>;
//!
//! async fn order(State(pool): State<Sqlite>) -> Result<(), PoolError> {
//!     let _conn = pool.get().await?; // counts for GET /orders/{id}
//!     Ok(())
//! }
//!
//! # #[tokio::main] pub async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # use tower::ServiceExt;
//! # let folder = tempfile::tempdir()?; let url = format!("sqlite://{}/app.db", folder.path().display());
//! let pool = Sqlite::builder(Settings::new(url)).build()?;
//! let app: Router = Router::new()
//!     .route("/orders/{id}", get(order))
//!     .layer(RequestLayer::new())
//!     // Added after the layer, so that scrapes have no spans.
//!     .nest_service("/api/v1/monitoring/pool", pool.monitor())
//!     .with_state(pool);
//! # let request = http::Request::get("/orders/7").body(axum::body::Body::empty())?;
//! # assert_eq!(app.oneshot(request).await?.status(), 200);
//! # Ok(()) }
//! # } #[cfg(all(feature = "sqlite", feature = "axum"))] fn main() { doc::main().unwrap() }
//! # #[cfg(not(all(feature = "sqlite", feature = "axum")))] fn main() {}
//! ```

pub(crate) mod attribution;
mod body;
mod future;
mod in_flight;
mod layer;
mod method;
mod route;
mod routes;
mod service;
mod span;
mod url;

pub use self::body::AttributedBody;
pub use self::future::AttributedFuture;
pub use self::layer::RequestLayer;
pub use self::route::Route;
pub use self::service::Attributed;
