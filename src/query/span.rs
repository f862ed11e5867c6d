//! Spans of queries and transactions.

use std::sync::Arc;

use opentelemetry::global::BoxedSpan;
use opentelemetry::trace::{Span, SpanBuilder, SpanKind, TraceContextExt};
use opentelemetry::{Context, KeyValue};
use opentelemetry_semantic_conventions::attribute::{
    DB_OPERATION_NAME, DB_QUERY_SUMMARY, DB_QUERY_TEXT,
};

use super::options::QueryOptions;
use crate::checkout::query_context::{QueryContext, Statement};

/// The name of a query's span when its summary is turned off.
const UNNAMED: &str = "query";
/// The number of attributes of a query's span, including one for a failure.
const ATTRIBUTES: usize = 9;

/// Opens a span in the trace of the connection's holder. Returns `None` if it is not recorded.
///
/// The parent is the span that is current here, else the span of the checkout: SQLite's queries run
/// on a thread where no span is current. `room` reserves capacity for the attributes, for a span that
/// is likely to be recorded.
pub(super) fn open(occupant: &QueryContext, kind: SpanKind, room: bool) -> Option<BoxedSpan> {
    let mut builder = SpanBuilder::from_name(UNNAMED).with_kind(kind);
    Context::map_current(|current| {
        let parent = match current.has_active_span() {
            true => current,
            false => &occupant.context,
        };
        let span = parent.span();
        let above = span.span_context();
        // If this process does not sample the trace, no span of it is recorded.
        if above.is_valid() && !above.is_remote() && !above.is_sampled() && !span.is_recording() {
            return None;
        }
        if room || above.is_sampled() {
            // Reserve the capacity now, so that the attributes are not reallocated.
            builder.attributes = Some(Vec::with_capacity(ATTRIBUTES));
        }
        let span = occupant.observer.open_span(builder, parent);
        span.is_recording().then_some(span)
    })
}

/// Records the statement on a span.
pub(super) fn describe(span: &mut BoxedSpan, statement: &Statement, options: &QueryOptions) {
    // A statement that does not begin with an SQL keyword has no summary.
    if !statement.summary.is_empty() {
        span.update_name((*statement.summary).to_owned());
        span.set_attribute(KeyValue::new(
            DB_QUERY_SUMMARY,
            Arc::clone(&statement.summary),
        ));
        if let Some(operation) = &statement.operation {
            span.set_attribute(KeyValue::new(DB_OPERATION_NAME, operation.clone()));
        }
    }
    if options.span_text {
        span.set_attribute(KeyValue::new(DB_QUERY_TEXT, Arc::clone(&statement.text)));
    }
}
