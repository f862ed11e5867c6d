//! The errors of the set-up.

use std::{fmt, io};

/// Why telemetry cannot be set up.
///
/// An absent collector is not an error, because it may come later and telemetry must not keep an app from
/// starting. Nor is a value of an `OTEL_*` variable that cannot be used: platforms set them for all apps. It is
/// ignored with a warning, and if no export is possible without it, nothing is exported.
#[non_exhaustive]
#[derive(thiserror::Error)]
pub enum TelemetryError {
    /// [`install`](super::TelemetryBuilder::install) found a `tracing` subscriber. A process can have only one.
    #[error(
        "a tracing subscriber is installed already: call `start` instead of `install`, and add `telemetry.layer()` to that subscriber"
    )]
    SubscriberInstalled,

    /// The system cannot start the thread to export from, or its runtime.
    #[error("cannot start the thread that exports telemetry")]
    Thread(#[source] io::Error),

    /// The exporter rejects settings that were valid by themselves.
    #[error("cannot build an exporter: {0}")]
    Exporter(String),
}

/// Shows the text, because `unwrap` is what a `main` often does with it.
impl fmt::Debug for TelemetryError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
