//! The metrics: one list, rendered as OpenTelemetry instruments and as a Prometheus page.

pub(crate) mod catalog;
pub(crate) mod durations;
pub(crate) mod family;
pub(crate) mod histograms;
mod instruments;
pub(crate) mod prometheus;
pub(crate) mod provider;
