//! Embedded observability for the database connection pool of an async Rust service.
//!
//! A tower [`Layer`](tower_layer::Layer) wraps a diesel-async bb8 pool, times and traces every
//! checkout with OpenTelemetry, and serves the monitoring and healthcheck routes as a tower
//! `Service` that any hyper-based app can nest.
//!
//! A pool configured by the environment takes two lines:
//!
//! ```no_run
//! # #[cfg(feature = "postgres")] mod doc {
//! use diesel_async::AsyncPgConnection;
//! use poolscope::Pool;
//!
//! # pub async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let pool = Pool::<AsyncPgConnection>::from_env()?; // DATABASE_URL, DB_POOL_SIZE, …
//! let app: axum::Router =
//!     axum::Router::new().nest_service("/api/v1/monitoring/pool", pool.monitor());
//! # Ok(()) }
//! # } fn main() {}
//! ```
//!
//! To observe the pool that an app already has, without changing it, see [`ObserveLayer`].
//!
//! The path of a checkout, in which each step is an ordinary tower layer or service:
//!
//! ```text
//! pool.get() ─▶ Observe ─▶ Admit ─▶ PoolService ─▶ Manager ─▶ Postgres / MySQL / SQLite
//!               span,      fair      bb8            connects,
//!               metrics,   queue                    pings,
//!               holders                             recycles
//! ```

//! # Features
//!
//! No feature is on by default.
//!
//! | feature | adds |
//! |---|---|
//! | `postgres` | pools of `AsyncPgConnection` |
//! | `mysql` | pools of `AsyncMysqlConnection`, for MySQL and MariaDB |
//! | `sqlite` | pools of [`AsyncSqliteConnection`](backend::AsyncSqliteConnection); builds SQLite from source |
//! | `tls` | TLS by rustls, to Postgres, to MySQL and to an OTLP receiver |
//! | `axum` | [`PoolError`] as an axum response; routes from axum's `MatchedPath` in [`RequestLayer`] |
//! | `otlp` | [`Telemetry`], which exports over OTLP by the standard `OTEL_*` variables |

#![cfg_attr(docsrs, feature(doc_cfg))]

mod admit;
mod advice;
pub mod backend;
mod checkout;
mod connection;
pub mod error;
#[cfg(doctest)]
mod guides;
mod identity;
mod log_limiter;
mod metrics;
mod monitor;
mod observe;
mod pool;
mod query;
mod recent;
mod record;
pub mod report;
mod request;
pub mod service;
pub mod settings;
pub mod telemetry;

pub use self::checkout::Checkout;
pub use self::connection::PoolService;
pub use self::error::PoolError;
pub use self::monitor::Monitor;
pub use self::observe::ObserveLayer;
pub use self::pool::drop_in as bb8;
pub use self::pool::{Pool, PoolBuilder, PooledConnection};
pub use self::request::RequestLayer;
pub use self::request::attribution::attributed;
pub use self::settings::{Preset, Settings};
#[cfg(feature = "otlp")]
pub use self::telemetry::Telemetry;
