//! The crate's instrumentation scope, the counts of exports, and with the feature `otlp` traces,
//! metrics and logs over OTLP.
//!
//! The path of a span, a log record or a data point:
//!
//! ```text
//! tracing ─▶ layers.rs ─▶ provider ─▶ queue.rs ─▶ the SDK's ─▶ exporter.rs ─▶ the OTLP ─▶ receiver
//!                      (pipeline.rs)  counts what   queue      counts what    exporter
//!                                     finds no space           was sent       over connection.rs,
//!                                                              and what not   on export_runtime.rs
//! ```
//!
//! The counts are in `stats.rs`; `export_log.rs` writes to the log.

mod scope;
mod stats;
mod tracer;

#[cfg(feature = "otlp")]
mod connection;
#[cfg(feature = "otlp")]
mod endpoint;
#[cfg(feature = "otlp")]
mod environment;
#[cfg(feature = "otlp")]
mod error;
#[cfg(feature = "otlp")]
mod export_log;
#[cfg(feature = "otlp")]
mod export_runtime;
#[cfg(feature = "otlp")]
mod exporter;
#[cfg(feature = "otlp")]
mod layers;
#[cfg(feature = "otlp")]
mod pipeline;
#[cfg(feature = "otlp")]
mod queue;
#[cfg(feature = "otlp")]
mod rejected;
#[cfg(feature = "otlp")]
mod set_up;
#[cfg(feature = "otlp")]
mod settings;
#[cfg(feature = "otlp")]
mod shutdown;
#[cfg(feature = "otlp")]
mod tls;

pub(crate) use self::scope::scope;
pub use self::stats::{Exports, SignalExports};
pub(crate) use self::tracer::Tracing;
#[cfg(feature = "otlp")]
pub use self::{
    error::TelemetryError,
    set_up::{Telemetry, TelemetryBuilder},
    shutdown::Unsent,
};
