//! What can go wrong when telemetry is set up.

use std::io;

use crate::settings::SettingsError;

/// Why telemetry can't be set up.
///
/// Never that a collector is absent: it may come later, and an app is not kept from starting by
/// what watches it.
///
/// ```
/// # #[cfg(feature = "otlp")] {
/// use poolscope::Telemetry;
///
/// let error = Telemetry::from_lookup(|name| match name {
///     "OTEL_EXPORTER_OTLP_ENDPOINT" => Some("http://localhost:4317".into()),
///     "OTEL_EXPORTER_OTLP_PROTOCOL" => Some("gRCP".into()),
///     "OTEL_METRIC_EXPORT_INTERVAL" => Some("10s".into()),
///     _ => None,
/// })
/// .unwrap_err();
///
/// assert_eq!(
///     error.to_string(),
///     "2 settings are wrong\n  \
///      OTEL_EXPORTER_OTLP_PROTOCOL=\"gRCP\": expected http/protobuf or grpc\n  \
///      OTEL_METRIC_EXPORT_INTERVAL=\"10s\": expected milliseconds, a whole number from 1 to 86400000 (a day); the unit is always milliseconds: leave it out"
/// );
/// # }
/// ```
#[non_exhaustive]
#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    /// Variables are wrong: all that are.
    #[error(transparent)]
    Settings(#[from] SettingsError),

    /// [`install`](super::TelemetryBuilder::install) found a `tracing` subscriber, and there can
    /// be only one.
    #[error(
        "a tracing subscriber is installed already: call `start` instead of `install`, and add `telemetry.layer()` to that subscriber"
    )]
    SubscriberInstalled,

    /// The system gives no thread, or no runtime on it, to export from.
    #[error("can't start a thread to export telemetry from")]
    Thread(#[source] io::Error),

    /// The exporter finds fault with settings that looked right.
    #[error("can't build an exporter: {0}")]
    Exporter(String),
}
