//! What a receiver took only in part.
//!
//! Such an answer is a success to the exporter, which tells of it in its log and nowhere else. So
//! that is read, while an export is polled; the rest of what the exporter logs on its way is left
//! out, for `news.rs` says it once.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use tracing::field::{Field, Visit};
use tracing::level_filters::LevelFilter;
use tracing::span::{Attributes, Id, Record};
use tracing::subscriber::{Interest, Subscriber};
use tracing::{Dispatch, Event, Metadata};

/// The reason is the receiver's text, so it may be anything.
const LONGEST_REASON: usize = 200;

/// What was rejected since it was asked last.
#[derive(Debug, Clone, Default)]
pub(super) struct Rejected(Arc<Mutex<Heard>>);

#[derive(Debug, Default)]
pub(super) struct Heard {
    pub(super) items: u64,
    pub(super) reason: String,
}

impl Rejected {
    /// The log to poll exports with.
    pub(super) fn log(&self) -> Dispatch {
        Dispatch::new(Ear(self.clone()))
    }

    pub(super) fn take(&self) -> Heard {
        std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// A subscriber of one kind of event.
struct Ear(Rejected);

fn concerns(metadata: &Metadata<'_>) -> bool {
    metadata.target() == "opentelemetry-otlp" && metadata.name().ends_with(".PartialSuccess")
}

impl Subscriber for Ear {
    fn register_callsite(&self, metadata: &'static Metadata<'static>) -> Interest {
        match concerns(metadata) {
            true => Interest::always(),
            false => Interest::never(),
        }
    }

    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        concerns(metadata)
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        Some(LevelFilter::WARN)
    }

    fn event(&self, event: &Event<'_>) {
        if concerns(event.metadata()) {
            let mut heard = self.0.0.lock().unwrap_or_else(PoisonError::into_inner);
            event.record(&mut *heard);
        }
    }

    fn new_span(&self, _span: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _span: &Id, _values: &Record<'_>) {}

    fn record_follows_from(&self, _span: &Id, _follows: &Id) {}

    fn enter(&self, _span: &Id) {}

    fn exit(&self, _span: &Id) {}
}

/// `rejected_spans`, `rejected_log_records` or `rejected_data_points`, and `error_message`.
impl Visit for Heard {
    fn record_i64(&mut self, field: &Field, value: i64) {
        if field.name().starts_with("rejected_") {
            self.items += u64::try_from(value).unwrap_or(0);
        }
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        if field.name().starts_with("rejected_") {
            self.items += value;
        }
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        if field.name() == "error_message" {
            self.reason = value.chars().take(LONGEST_REASON).collect();
        }
    }

    fn record_debug(&mut self, _field: &Field, _value: &dyn fmt::Debug) {}
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_was_rejected_is_heard() {
        let rejected = Rejected::default();
        tracing::dispatcher::with_default(&rejected.log(), || {
            tracing::warn!(name: "HttpTraceClient.PartialSuccess", target: "opentelemetry-otlp",
                rejected_spans = 3_i64, error_message = "too many");
            tracing::warn!(name: "Export.Failed", target: "opentelemetry-otlp", rejected_spans = 9);
            tracing::warn!(rejected_spans = 9, "another's");
        });
        let heard = rejected.take();
        assert_eq!((heard.items, heard.reason.as_str()), (3, "too many"));
        assert_eq!(rejected.take().items, 0);
    }
}
