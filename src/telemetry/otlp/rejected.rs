//! Counts the items that a receiver rejected of a batch that it accepted. The OTLP exporters report such a
//! partial success only in their log.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use tracing::field::{Field, Visit};
use tracing::level_filters::LevelFilter;
use tracing::{Event, Metadata, Subscriber};
use tracing_subscriber::layer::{Context, Layer};

/// The maximum length of the reason, which is the receiver's text.
const LONGEST_REASON: usize = 200;

/// Items that were rejected, and the reason.
#[derive(Debug, Default)]
pub(super) struct Rejected {
    pub(super) items: u64,
    pub(super) reason: String,
}

/// The subscriber during an export. It discards everything else that the exporters log, because `stats.rs`
/// logs one line for an outage.
#[derive(Debug, Clone, Default)]
pub(super) struct ExporterLog(Arc<Mutex<Rejected>>);

impl ExporterLog {
    /// Returns the items rejected since the last call.
    pub(super) fn take(&self) -> Rejected {
        std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl<S: Subscriber> Layer<S> for ExporterLog {
    fn enabled(&self, metadata: &Metadata<'_>, _: Context<'_, S>) -> bool {
        metadata.target() == "opentelemetry-otlp" && metadata.name().ends_with(".PartialSuccess")
    }

    /// Disables the other levels, so that they cost nothing.
    fn max_level_hint(&self) -> Option<LevelFilter> {
        Some(LevelFilter::WARN)
    }

    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        event.record(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner));
    }
}

/// The fields are `rejected_spans`, `rejected_log_records` or `rejected_data_points`, and
/// `error_message`.
impl Visit for Rejected {
    fn record_i64(&mut self, field: &Field, value: i64) {
        if field.name().starts_with("rejected_") {
            self.items += u64::try_from(value).unwrap_or(0);
        }
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        if field.name() == "error_message" {
            self.reason = value.chars().take(LONGEST_REASON).collect();
        }
    }

    fn record_debug(&mut self, _field: &Field, _value: &dyn fmt::Debug) {}
}
