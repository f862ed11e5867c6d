//! The crate's instrumentation scope and tracer, the counts of exports, and with the feature `otlp`
//! traces, metrics and logs over OTLP.

mod exports;
#[cfg(feature = "otlp")]
mod otlp;
mod scope;
mod tracer;

pub use self::exports::{Exports, SignalExports};
#[cfg(feature = "otlp")]
pub use self::otlp::{Telemetry, TelemetryBuilder, TelemetryError, Unsent};
pub(crate) use self::scope::scope;
pub(crate) use self::tracer::Tracing;
