//! The metrics page for Prometheus, in its text format and in OpenMetrics.
//!
//! The page is written without a client library. It lists all
//! [`families`](crate::metrics::catalog), each read at one instant.

mod name;
mod page;
mod text;

pub(crate) use self::page::Page;

/// A format of the page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Format {
    /// Prometheus' text format, version 0.0.4.
    Text,
    /// OpenMetrics, version 1.0.0.
    OpenMetrics,
}

impl Format {
    pub(crate) fn content_type(self) -> &'static str {
        match self {
            Self::Text => "text/plain; version=0.0.4; charset=utf-8",
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        }
    }
}
