//! An app in the test itself, and telemetry that it sends.

use poolscope::Telemetry;
use poolscope::telemetry::Exports;
use tracing_subscriber::layer::SubscriberExt;

pub const ENDPOINT: &str = "OTEL_EXPORTER_OTLP_ENDPOINT";
/// The endpoint of a receiver at `child::port()`.
pub const HERE: (&str, &str) = (ENDPOINT, "http://127.0.0.1:{port}");

/// Telemetry by the environment of this process.
pub fn telemetry() -> Telemetry {
    let builder = Telemetry::from_env();
    builder
        .and_then(|builder| builder.start())
        .expect("telemetry")
}

/// Does something under a subscriber with the layer, so that its spans and events are exported.
pub fn under<T>(telemetry: &Telemetry, work: impl FnOnce() -> T) -> T {
    let subscriber = tracing_subscriber::registry().with(telemetry.layer());
    tracing::subscriber::with_default(subscriber, work)
}

/// Ends so many spans, and emits as many log records.
pub fn produce(telemetry: &Telemetry, count: u64) {
    under(telemetry, || {
        for number in 0..count {
            tracing::info_span!("work", number).in_scope(|| tracing::info!("worked"));
        }
    });
}

/// All of a signal that has met its end, good or bad.
pub fn settled(exports: &Exports) -> (u64, u64) {
    let of = |signal: &poolscope::telemetry::SignalExports| {
        signal.exported + signal.failed + signal.dropped
    };
    (of(&exports.traces), of(&exports.logs))
}
