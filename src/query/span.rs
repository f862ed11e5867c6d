//! The span of a query, or of a transaction, where it is recorded.

use std::sync::Arc;

use opentelemetry::global::BoxedSpan;
use opentelemetry::trace::{Span, SpanBuilder, SpanKind, TraceContextExt};
use opentelemetry::{Context, KeyValue};
use opentelemetry_semantic_conventions::attribute::{
    DB_OPERATION_NAME, DB_QUERY_SUMMARY, DB_QUERY_TEXT,
};

use super::options::QueryOptions;
use crate::occupant::{Occupant, Statement};

/// The name of a query's span when its summary is turned off.
const UNNAMED: &str = "query";
/// As many as a query's span has, and one for a failure.
const ATTRIBUTES: usize = 9;

/// A span that is recorded, in the trace of whoever holds the connection: child of the span that is
/// current here, else of the one at the checkout. SQLite's queries run on a thread where none is
/// current. Gets room for attributes if it is likely to be recorded.
pub(super) fn open(occupant: &Occupant, kind: SpanKind, room: bool) -> Option<BoxedSpan> {
    let mut builder = SpanBuilder::from_name(UNNAMED).with_kind(kind);
    Context::map_current(|current| {
        let parent = match current.has_active_span() {
            true => current,
            false => &occupant.context,
        };
        let span = parent.span();
        let above = span.span_context();
        // Of a trace that is not sampled in this process nothing is.
        if above.is_valid() && !above.is_remote() && !above.is_sampled() && !span.is_recording() {
            return None;
        }
        if room || above.is_sampled() {
            // So that the attributes are not moved from one place to a larger one.
            builder.attributes = Some(Vec::with_capacity(ATTRIBUTES));
        }
        let span = occupant.observer.open_span(builder, parent);
        span.is_recording().then_some(span)
    })
}

/// Says on a span what the query is.
pub(super) fn describe(span: &mut BoxedSpan, told: &Statement, options: &QueryOptions) {
    // A statement that begins with no word of SQL has none.
    if options.span_summary && !told.summary.is_empty() {
        span.update_name((*told.summary).to_owned());
        span.set_attribute(KeyValue::new(DB_QUERY_SUMMARY, Arc::clone(&told.summary)));
        if let Some(operation) = &told.operation {
            span.set_attribute(KeyValue::new(DB_OPERATION_NAME, operation.clone()));
        }
    }
    if options.span_text {
        span.set_attribute(KeyValue::new(DB_QUERY_TEXT, Arc::clone(&told.text)));
    }
}
