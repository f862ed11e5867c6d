//! The errors of the set-up.

use std::{fmt, io};

use crate::settings::SettingsError;

/// Why telemetry can't be set up.
///
/// An absent collector is no error: it may come later, and telemetry does not keep an app from
/// starting. Nor is a word that the set-up does not know, which is ignored with a warning.
#[non_exhaustive]
#[derive(thiserror::Error)]
pub enum TelemetryError {
    /// Variables make the export impossible: an endpoint that is no URL, a certificate that can't
    /// be read. The error lists all of them.
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

/// Shows the text, because `unwrap` is what a `main` often does with it.
impl fmt::Debug for TelemetryError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
