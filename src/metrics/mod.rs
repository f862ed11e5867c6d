//! The metrics: one list, rendered as OpenTelemetry instruments and as a Prometheus page.

pub(crate) mod catalog;
pub(crate) mod family;
pub(crate) mod histograms;
pub(crate) mod instruments;
pub(crate) mod prometheus;
