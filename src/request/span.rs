//! The span that records a request: a span opened here, or the span that was current already.

use std::sync::Arc;

use http::StatusCode;
use http::request::Parts;
use opentelemetry::global::get_text_map_propagator;
use opentelemetry::trace::{
    Span, SpanBuilder, SpanContext, SpanKind, SpanRef, Status, TraceContextExt,
};
use opentelemetry::{Context, ContextGuard, KeyValue};
use opentelemetry_http::HeaderExtractor;
use opentelemetry_semantic_conventions::attribute::{
    ERROR_TYPE, HTTP_REQUEST_METHOD, HTTP_REQUEST_METHOD_ORIGINAL, HTTP_RESPONSE_STATUS_CODE,
    HTTP_ROUTE, NETWORK_PROTOCOL_VERSION, USER_AGENT_ORIGINAL,
};

use super::layer::Options;
use super::method::OTHER;
use super::url;
use crate::request::attribution::{AttributedSpan, Attribution, Used};

/// How a request ended.
#[derive(Debug, Clone, Copy)]
pub(super) enum Outcome {
    /// Its response was sent completely.
    Answered,
    /// The service failed with an error of this type, in place of a response or within its body.
    Failed(&'static str),
    /// The request was dropped: the client disconnected, or a timeout expired.
    Canceled,
    Panicked,
}

pub(super) enum RequestSpan {
    /// No span is recorded.
    None,
    /// A span opened here, with the context in which it is current.
    Own(Context),
    /// A span opened by other code, with the context that was current when the request arrived.
    Current {
        context: Context,
        /// Whether this layer still has to record the request's counters on the span. `false` if an
        /// enclosing layer does so.
        pending: bool,
    },
}

impl RequestSpan {
    /// Uses the current span, or opens one.
    pub(super) fn of(
        request: &Attribution,
        outer: Option<&Attribution>,
        parts: &Parts,
        options: &Options,
    ) -> Self {
        match Context::map_current(has_local_span) {
            true => join(request, outer),
            false => open(request, parts, options),
        }
    }

    /// Makes the span's context current while the guard lives, unless a local span is current already.
    pub(super) fn enter(&self) -> Option<ContextGuard> {
        match self {
            Self::None => None,
            Self::Own(context) => Some(context.clone().attach()),
            // The code that opened the span usually keeps it, or a span below it, current. Not all
            // code does so while the body is sent.
            Self::Current { context, .. } => {
                let there = Context::map_current(has_local_span);
                (!there).then(|| context.clone().attach())
            }
        }
    }

    /// Records the request's counters on a span opened by other code, because that may end with the
    /// response's head. The caller does not call this if the body may use the pool.
    pub(super) fn answered(&mut self, used: impl FnOnce() -> Option<Used>) {
        if let Self::Current { context, pending } = self
            && *pending
        {
            // `None` if there is no use yet, or if all of it belongs to a nested layer's open request.
            if let Some(used) = used() {
                *pending = false;
                set_usage(&context.span(), Some(used));
            }
        }
    }

    pub(super) fn end(self, used: Option<Used>, status: Option<StatusCode>, outcome: Outcome) {
        match self {
            Self::None => {}
            Self::Current { context, pending } => {
                if pending {
                    set_usage(&context.span(), used);
                }
            }
            Self::Own(context) => {
                let span = context.span();
                if span.is_recording() {
                    set_usage(&span, used);
                    set_outcome(&span, status, outcome);
                }
                // End the span now, not when its last handle is dropped: a spawned task may keep one
                // much longer.
                span.end();
            }
        }
    }
}

/// Returns whether a span of this process is current. A remote span from the headers is the parent of
/// the request's span instead.
fn has_local_span(context: &Context) -> bool {
    let local = |span: &SpanContext| span.is_valid() && !span.is_remote();
    context.has_active_span() && local(context.span().span_context())
}

/// Uses the current span for the request.
fn join(request: &Attribution, outer: Option<&Attribution>) -> RequestSpan {
    let context = Context::current();
    let span = context.span();
    let id = span.span_context().span_id();
    let attributed = outer.and_then(|outer| outer.span.get());
    let attributed = attributed.filter(|attributed| attributed.id == id);
    let mut lacks_route = attributed.is_some_and(|attributed| attributed.lacks_route);
    if lacks_route && let Some(route) = &request.route {
        span.update_name(name(request));
        span.set_attribute(KeyValue::new(HTTP_ROUTE, Arc::clone(route)));
        lacks_route = false;
    }
    let _ = request.span.set(AttributedSpan { id, lacks_route });
    RequestSpan::Current {
        context,
        pending: attributed.is_none(),
    }
}

fn open(request: &Attribution, parts: &Parts, options: &Options) -> RequestSpan {
    let tracing = &options.tracing;
    let parent = get_text_map_propagator(|propagator| {
        Context::map_current(|current| {
            propagator.extract_with_context(current, &HeaderExtractor(&parts.headers))
        })
    });
    // A sampler may need the attributes, but skip them if no span has been recorded so far.
    let expected = tracing.is_live();
    let mut builder = SpanBuilder::from_name(request.method).with_kind(SpanKind::Server);
    if expected {
        builder = SpanBuilder::from_name(name(request))
            .with_kind(SpanKind::Server)
            .with_attributes(attributes(request, parts, options));
    }
    let Some(mut span) = tracing.open_if_live(builder, &parent) else {
        return RequestSpan::None;
    };
    if !expected && span.is_recording() {
        span.update_name(name(request));
        span.set_attributes(attributes(request, parts, options));
    }
    let id = span.span_context().span_id();
    let lacks_route = request.route.is_none();
    let _ = request.span.set(AttributedSpan { id, lacks_route });
    RequestSpan::Own(parent.with_span(span))
}

fn name(request: &Attribution) -> String {
    let method = match request.method {
        OTHER => "HTTP",
        known => known,
    };
    match &request.route {
        Some(route) => format!("{method} {route}"),
        None => method.to_owned(),
    }
}

fn attributes(request: &Attribution, parts: &Parts, options: &Options) -> Vec<KeyValue> {
    let mut attributes = Vec::with_capacity(8);
    attributes.push(KeyValue::new(HTTP_REQUEST_METHOD, request.method));
    if request.method == OTHER {
        let original = parts.method.as_str().to_owned();
        attributes.push(KeyValue::new(HTTP_REQUEST_METHOD_ORIGINAL, original));
    }
    if let Some(route) = &request.route {
        attributes.push(KeyValue::new(HTTP_ROUTE, Arc::clone(route)));
    }
    url::attributes(parts, options.url_path, &mut attributes);
    if let Some(version) = version(parts) {
        attributes.push(KeyValue::new(NETWORK_PROTOCOL_VERSION, version));
    }
    let agent = parts.headers.get(http::header::USER_AGENT);
    if let Some(agent) = agent.and_then(|agent| agent.to_str().ok()) {
        attributes.push(KeyValue::new(USER_AGENT_ORIGINAL, agent.to_owned()));
    }
    attributes
}

fn version(parts: &Parts) -> Option<&'static str> {
    match parts.version {
        http::Version::HTTP_10 => Some("1.0"),
        http::Version::HTTP_11 => Some("1.1"),
        http::Version::HTTP_2 => Some("2"),
        http::Version::HTTP_3 => Some("3"),
        _ => None,
    }
}

/// Records the request's counters on a span, unless the request has used no pool.
fn set_usage(span: &SpanRef<'_>, used: Option<Used>) {
    let Some(used) = used.filter(|_| span.is_recording()) else {
        return;
    };
    let count = |count: u64| i64::try_from(count).unwrap_or(i64::MAX);
    span.set_attributes([
        KeyValue::new("poolscope.request.checkouts", count(used.checkouts)),
        KeyValue::new("poolscope.request.queries", count(used.queries)),
        KeyValue::new("poolscope.request.wait_time", used.waited.as_secs_f64()),
        KeyValue::new("poolscope.request.held_time", used.held.as_secs_f64()),
        KeyValue::new("poolscope.request.query_time", used.busy.as_secs_f64()),
    ]);
}

fn set_outcome(span: &SpanRef<'_>, status: Option<StatusCode>, outcome: Outcome) {
    if let Some(status) = status {
        let code = i64::from(status.as_u16());
        span.set_attribute(KeyValue::new(HTTP_RESPONSE_STATUS_CODE, code));
    }
    let server_error = status.filter(StatusCode::is_server_error);
    let (error_type, is_error) = match (outcome, server_error) {
        (Outcome::Failed(error), _) => (error.to_owned(), true),
        (Outcome::Panicked, _) => ("panic".to_owned(), true),
        (_, Some(status)) => (status.as_str().to_owned(), true),
        // Not an error of the server.
        (Outcome::Canceled, None) => ("canceled".to_owned(), false),
        (Outcome::Answered, None) => return,
    };
    span.set_attribute(KeyValue::new(ERROR_TYPE, error_type));
    if is_error {
        span.set_status(Status::error(""));
    }
}
