//! The errors of the set-up.

use std::{fmt, io};

use crate::settings::SettingsError;

/// Why telemetry cannot be set up.
///
/// An absent collector is not an error, because it may come later and telemetry must not keep an app from
/// starting. An unknown value is not an error either. It is ignored with a warning.
#[non_exhaustive]
#[derive(thiserror::Error)]
pub enum TelemetryError {
    /// Variables make the export impossible: an endpoint that is not a URL, a certificate that cannot be read.
    /// The error lists all of them.
    #[error(transparent)]
    Settings(#[from] SettingsError),

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
