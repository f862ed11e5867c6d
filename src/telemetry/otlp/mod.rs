//! Traces, metrics and logs over OTLP.
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
//! `stats.rs` has the counts, and logs when exporting begins to fail and when it works again.

mod connection;
mod endpoint;
mod environment;
mod error;
mod export_runtime;
mod exporter;
mod flush;
mod layers;
mod pipeline;
mod queue;
mod rejected;
mod set_up;
mod settings;
mod shutdown;
mod stats;
mod tls;

pub use self::error::TelemetryError;
pub use self::set_up::{Telemetry, TelemetryBuilder};
pub use self::shutdown::Unsent;
pub(super) use self::stats::active_exports;

/// The target of all log events of exporting.
const TARGET: &str = "poolscope::telemetry";
