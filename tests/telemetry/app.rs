//! An app in the test itself, and telemetry that it sends.

use std::collections::HashMap;
use std::ffi::OsString;

use poolscope::Telemetry;
use poolscope::report::Exports;
use tracing_subscriber::layer::SubscriberExt;

/// Telemetry as these variables set it up. It takes over the process's providers.
pub fn telemetry(variables: &[(&str, &str)]) -> Telemetry {
    let variables: HashMap<_, _> = variables.iter().copied().collect();
    Telemetry::from_lookup(|name| variables.get(name).map(OsString::from))
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
    let of = |signal: &poolscope::report::SignalExports| {
        signal.exported + signal.failed + signal.dropped
    };
    (of(&exports.traces), of(&exports.logs))
}
