//! Spans of queries and transactions.

use std::borrow::Cow;
use std::sync::Arc;

use opentelemetry::global::BoxedSpan;
use opentelemetry::trace::{Span, SpanBuilder, SpanKind, TraceContextExt};
use opentelemetry::{Context, KeyValue};
use opentelemetry_semantic_conventions::attribute::{DB_QUERY_SUMMARY, DB_QUERY_TEXT};

use super::options::QueryOptions;
use crate::checkout::query_context::{QueryContext, Statement};

/// The name of a query's span when its summary is turned off.
const UNNAMED: &str = "query";
/// The number of attributes of a query's span, including two for a failure.
const ATTRIBUTES: usize = 9;

/// What is known of a span when it starts, so that a sampler sees it.
pub(super) struct Start<'a> {
    /// `None` for a query, which has the name of its summary.
    pub(super) name: Option<&'static str>,
    /// The statement, if its text was printed already.
    pub(super) statement: Option<&'a Statement>,
    pub(super) kind: SpanKind,
    /// Whether the span is likely to be recorded. Reserves capacity for more attributes.
    pub(super) likely: bool,
}

/// Opens a span in the trace of the connection's holder. Returns `None` if it is not recorded.
///
/// The parent is the span that is current here, else the span of the checkout: SQLite's queries run
/// on a thread where no span is current.
pub(super) fn open(
    occupant: &QueryContext,
    options: &QueryOptions,
    start: &Start<'_>,
) -> Option<BoxedSpan> {
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
        let summary = start.statement.map(|statement| &statement.summary);
        let summary = summary.filter(|summary| !summary.is_empty());
        let name = match (start.name, summary) {
            (Some(name), _) => name.into(),
            (None, Some(summary)) => summary.to_string().into(),
            (None, None) => UNNAMED.into(),
        };
        let mut builder =
            SpanBuilder::from_name::<Cow<'static, str>>(name).with_kind(start.kind.clone());
        let capacity = match start.likely || above.is_sampled() {
            true => ATTRIBUTES,
            false => options.attributes.len() + usize::from(summary.is_some()),
        };
        let mut attributes = Vec::with_capacity(capacity);
        attributes.extend(options.attributes.iter().cloned());
        attributes.extend(summary.map(|it| KeyValue::new(DB_QUERY_SUMMARY, Arc::clone(it))));
        builder.attributes = Some(attributes);
        let span = occupant.observer.open_span(builder, parent);
        span.is_recording().then_some(span)
    })
}

/// Records the statement on a span. `is_named` if the span has started with it.
pub(super) fn describe(
    span: &mut BoxedSpan,
    statement: &Statement,
    options: &QueryOptions,
    is_named: bool,
) {
    // A statement that does not begin with an SQL keyword has no summary.
    if !is_named && !statement.summary.is_empty() {
        span.update_name((*statement.summary).to_owned());
        span.set_attribute(KeyValue::new(
            DB_QUERY_SUMMARY,
            Arc::clone(&statement.summary),
        ));
    }
    if options.span_text {
        span.set_attribute(KeyValue::new(DB_QUERY_TEXT, Arc::clone(&statement.text)));
    }
}
