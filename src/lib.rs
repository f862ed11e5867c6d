//! Embedded observability for the database connection pool of an async Rust service.
//!
//! A tower [`Layer`](tower_layer::Layer) wraps a diesel-async bb8 pool, times and traces every
//! checkout with OpenTelemetry, and serves the monitoring and healthcheck routes as a tower
//! `Service` that any hyper-based app can nest.
//!
//! A pool by the environment, in two lines:
//!
//! ```no_run
//! # #[cfg(feature = "postgres")] mod doc {
//! use diesel_async::AsyncPgConnection;
//! use poolscope::Pool;
//!
//! # pub async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let pool = Pool::<AsyncPgConnection>::from_env().await?; // DATABASE_URL, DB_POOL_SIZE, …
//! let app: axum::Router =
//!     axum::Router::new().nest_service("/api/v1/monitoring/pool", pool.monitor());
//! # Ok(()) }
//! # } fn main() {}
//! ```
//!
//! Or over the pool that an app already has, which stays as it is: see [`ObserveLayer`].
//!
//! The way of a checkout, each step an ordinary tower layer or service:
//!
//! ```text
//! pool.get() ─▶ Observe ─▶ Admit ─▶ PoolService ─▶ Manager ─▶ Postgres / MySQL / SQLite
//!               span,      fair      bb8            opens, probes,
//!               metrics,   queue                    recycles
//!               ledger
//! ```

#![cfg_attr(docsrs, feature(doc_cfg))]

mod admit;
mod advice;
mod attribution;
mod backend;
mod checkout;
mod connection;
mod error;
mod hashed;
// Named to Postgres and to OpenTelemetry.
#[cfg(any(feature = "postgres", feature = "otlp"))]
mod identity;
mod inventory;
mod lifecycle;
mod monitor;
mod observe;
mod occupant;
mod phase;
mod pool;
mod query;
mod report;
mod request;
#[cfg(feature = "axum")]
mod response;
mod settings;
mod telemetry;
mod totals;

pub use self::pool::drop_in as bb8;

pub use self::admit::{Admit, AdmitLayer, Admitted, Gate, ResponseFuture as AdmitFuture};
pub use self::advice::{
    Accuracy, Bottleneck, BottleneckKind, Comparison, Contention, CurrentUsage, CurvePoint,
    Evidence, EvidenceWindow, EvidenceWindows, NotEnoughData, Optimization, PredictedWait,
    ReplayedRecord, RouteShare, StatementShare, WhatIf, WhatIfError,
};
pub use self::attribution::attributed;
#[cfg(feature = "sqlite")]
pub use self::backend::AsyncSqliteConnection;
pub use self::backend::{Backend, ConnectError, ConnectErrorKind};
#[doc(hidden)]
pub use self::backend::{Dial, DialOptions, Dialed, Outcome, Session};
pub use self::checkout::{Checkout, ConnectionFacts, Held, TransactionState};
#[doc(hidden)]
pub use self::connection::{ExistingCare, Managed, OwnCare};
pub use self::connection::{
    ExistingLease, Lease, Manager, PoolService, ResponseFuture as LeaseFuture, WarmUp,
};
pub use self::error::{BoxError, LongestHolder, PoolError, Rejection, Scene, TimedOut};
pub use self::inventory::{Availability, Counts, Inventory};
pub use self::lifecycle::{CloseReason, Lifecycle};
pub use self::monitor::Monitor;
pub use self::observe::{Observe, ObserveLayer, Observed, ResponseFuture as ObserveFuture};
#[doc(hidden)]
pub use self::occupant::Slot;
pub use self::phase::{Phase, Phases};
pub use self::pool::{Pool, PoolBuilder, PooledConnection, Stack};
pub use self::query::is_connection_failure;
pub use self::report::{
    Configuration, Connections, DatabaseHealth, Fleet, Health, Healthcheck, HoldEfficiency,
    HolderReport, PhaseTimings, PlaceEfficiency, RepeatedStatement, SessionReport, ShedReport,
    ShedRoute, Source, SourceLayer, Sourced, Status, Timings, WaitingFor, Window, Windows,
};
#[doc(hidden)]
pub use self::report::{RouteSettings, SourceFacts};
pub use self::request::{Attributed, AttributedBody, AttributedFuture, RequestLayer, Route};
pub use self::settings::{
    DatabaseKind, DatabaseUrl, Preset, Problem, Secret, Settings, SettingsError, Thresholds,
    UnknownVariable, Variable,
};
pub use self::telemetry::{Exports, SignalExports};
#[cfg(feature = "otlp")]
pub use self::telemetry::{Telemetry, TelemetryBuilder, TelemetryError, Unsent};
pub use self::totals::{Closed, Totals};

/// Runs the examples of the guides as doctests.
#[cfg(doctest)]
mod guides {
    #[doc = include_str!("../README.md")]
    struct Readme;
    #[doc = include_str!("../docs/advice.md")]
    struct Advice;
    #[doc = include_str!("../docs/architecture.md")]
    struct Architecture;
    #[doc = include_str!("../docs/best-practices.md")]
    struct BestPractices;
    #[doc = include_str!("../docs/monitoring.md")]
    struct Monitoring;
    #[doc = include_str!("../docs/production.md")]
    struct Production;
    #[doc = include_str!("../docs/reliability.md")]
    struct Reliability;
    #[doc = include_str!("../docs/telemetry.md")]
    struct Telemetry;
    #[doc = include_str!("../docs/troubleshooting.md")]
    struct Troubleshooting;
}
