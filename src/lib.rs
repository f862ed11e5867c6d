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

#![cfg_attr(docsrs, feature(doc_cfg))]

mod admit;
mod advice;
mod backend;
mod checkout;
mod connection;
mod error;
mod exports;
// Used by the Postgres backend and by OpenTelemetry export.
#[cfg(any(test, feature = "postgres", feature = "otlp"))]
mod identity;
mod metrics;
mod monitor;
mod observe;
mod pool;
mod query;
mod record;
mod report;
mod request;
mod scope;
mod settings;
#[cfg(feature = "otlp")]
mod telemetry;

pub use self::pool::drop_in as bb8;

pub use self::admit::{Admit, AdmitLayer, Admitted, Gate, ResponseFuture as AdmitFuture};
pub use self::advice::{
    Accuracy, Bottleneck, BottleneckKind, Comparison, Contention, CurrentUsage, CurvePoint,
    Evidence, EvidenceWindow, EvidenceWindows, NotEnoughData, Optimization, PredictedWait,
    ReplayedRecord, RouteShare, StatementShare, WhatIf, WhatIfError,
};
#[cfg(feature = "sqlite")]
pub use self::backend::AsyncSqliteConnection;
pub use self::backend::{Backend, ConnectError, ConnectErrorKind};
#[doc(hidden)]
pub use self::backend::{Dial, DialOptions, Dialed, Outcome, Session};
pub use self::checkout::{Checkout, ConnectionFacts, PooledGuard, TransactionState};
pub use self::connection::{
    ExistingLease, Lease, Manager, PoolService, ResponseFuture as LeaseFuture, WarmUp,
};
#[doc(hidden)]
pub use self::connection::{ExistingShared, Managed, OwnShared};
pub use self::error::{BoxError, LongestHolder, PoolError, PoolSnapshot, Rejection, TimedOut};
pub use self::exports::{Exports, SignalExports};
pub use self::monitor::Monitor;
pub use self::observe::{Observe, ObserveLayer, Observed, ResponseFuture as ObserveFuture};
pub use self::pool::{Pool, PoolBuilder, PooledConnection, Stack};
#[doc(hidden)]
pub use self::query::context::ContextSlot;
pub use self::query::is_connection_failure;
pub use self::record::inventory::{Availability, Counts, Inventory};
pub use self::record::pool_events::{CloseReason, PoolEvents};
pub use self::record::totals::{Closed, Totals};
pub use self::record::wait_phase::{Phase, Phases};
pub use self::report::{
    Configuration, Connections, DatabaseHealth, Fleet, Health, Healthcheck, HoldEfficiency,
    HolderReport, PhaseTimings, PlaceEfficiency, RepeatedStatement, SessionReport, ShedReport,
    ShedRoute, Source, SourceLayer, Status, Timings, WaitingFor, Window, Windows, WithSource,
};
#[doc(hidden)]
pub use self::report::{RouteSettings, SourceFacts};
pub use self::request::attribution::attributed;
pub use self::request::{Attributed, AttributedBody, AttributedFuture, RequestLayer, Route};
pub use self::settings::{
    DatabaseKind, DatabaseUrl, Preset, Problem, QuerySpans, Secret, Settings, SettingsError,
    Thresholds, UnknownVariable, Variable,
};
#[cfg(feature = "otlp")]
pub use self::telemetry::{Telemetry, TelemetryBuilder, TelemetryError, Unsent};

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
