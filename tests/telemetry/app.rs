//! Telemetry of an app in the test process.

use poolscope::Telemetry;
use poolscope::telemetry::Exports;
use tracing_subscriber::layer::SubscriberExt;

pub const ENDPOINT: &str = "OTEL_EXPORTER_OTLP_ENDPOINT";
/// Sets the endpoint to a receiver at `child::port()`.
pub const HERE: (&str, &str) = (ENDPOINT, "http://127.0.0.1:{port}");

/// Starts telemetry with the environment of this process.
pub fn telemetry() -> Telemetry {
    let builder = Telemetry::from_env();
    builder
        .and_then(|builder| builder.start())
        .expect("telemetry")
}

/// Runs `work` under a subscriber with the telemetry layer, so that spans and events are exported.
pub fn under<T>(telemetry: &Telemetry, work: impl FnOnce() -> T) -> T {
    let subscriber = tracing_subscriber::registry().with(telemetry.layer());
    tracing::subscriber::with_default(subscriber, work)
}

/// Ends `count` spans and emits `count` log records.
pub fn produce(telemetry: &Telemetry, count: u64) {
    under(telemetry, || {
        for number in 0..count {
            tracing::info_span!("work", number).in_scope(|| tracing::info!("worked"));
        }
    });
}

/// Counts the spans and log records whose export has succeeded or failed.
pub fn settled(exports: &Exports) -> (u64, u64) {
    let of = |signal: &poolscope::telemetry::SignalExports| {
        signal.exported + signal.failed + signal.dropped
    };
    (of(&exports.traces), of(&exports.logs))
}
