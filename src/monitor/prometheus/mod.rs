//! The metrics as Prometheus reads them, in the two formats that it knows.
//!
//! Written by hand, for both at once: a page is the list of
//! [`families`](crate::observe::families), each read at one instant.

mod name;
mod page;
mod text;

pub(super) use self::page::Page;

/// A format of the page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Format {
    /// Prometheus' own, 0.0.4.
    Text,
    /// 1.0.0.
    OpenMetrics,
}

impl Format {
    pub(super) fn content_type(self) -> &'static str {
        match self {
            Self::Text => "text/plain; version=0.0.4; charset=utf-8",
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        }
    }
}
