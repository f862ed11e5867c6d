//! The span of a checkout, created directly with the OpenTelemetry API.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use opentelemetry::global::{self, BoxedSpan, BoxedTracer};
use opentelemetry::trace::{
    Span, SpanBuilder, SpanContext, Status, TraceContextExt, TraceId, Tracer,
};
use opentelemetry::{Context, KeyValue};
use opentelemetry_semantic_conventions::attribute::{
    CODE_FILE_PATH, CODE_LINE_NUMBER, DB_CLIENT_CONNECTION_POOL_NAME, ERROR_TYPE,
};

use crate::checkout::Checkout;
use crate::checkout::wait_phase::Phase;
use crate::error::PoolError;
use crate::metrics::catalog::{LABEL, PHASE_TIME};
use crate::telemetry::scope;

/// Name of the span. The pool's name is an attribute.
const NAME: &str = "pool.checkout";

/// Creates the spans of one pool.
pub(crate) struct Tracing {
    tracer: TracerSource,
    /// Whether the last span came from a real provider. While it did not, the global provider is queried
    /// again.
    live: AtomicBool,
    /// Whether the tracer is new and has opened no span yet.
    untried: AtomicBool,
}

/// Where the tracer comes from.
enum TracerSource {
    /// The provider set on the layer.
    Given(BoxedTracer),
    /// The global provider, as of the last time it was queried.
    Global(ArcSwap<BoxedTracer>),
}

impl TracerSource {
    fn open(&self, builder: SpanBuilder, parent: &Context) -> BoxedSpan {
        match self {
            Self::Given(tracer) => tracer.build_with_context(builder, parent),
            Self::Global(tracer) => tracer.load().build_with_context(builder, parent),
        }
    }
}

impl Tracing {
    pub(crate) fn new(tracer: Option<BoxedTracer>) -> Self {
        let global =
            || TracerSource::Global(ArcSwap::from_pointee(global::tracer_with_scope(scope())));
        Self {
            tracer: tracer.map_or_else(global, TracerSource::Given),
            live: AtomicBool::new(false),
            untried: AtomicBool::new(true),
        }
    }

    /// Queries the global provider again if it was not live so far.
    pub(crate) fn bind(&self) {
        if let TracerSource::Global(tracer) = &self.tracer
            && !self.is_live()
        {
            tracer.store(Arc::new(global::tracer_with_scope(scope())));
            self.untried.store(true, Ordering::Relaxed);
        }
    }

    /// Returns whether to open a span. Without a live provider, only one span is opened each time the
    /// global provider is queried again.
    fn is_worth_a_span(&self) -> bool {
        let untried =
            || self.untried.load(Ordering::Relaxed) && self.untried.swap(false, Ordering::Relaxed);
        self.may_listen() || untried()
    }

    /// Returns whether the last span came from a real provider.
    pub(crate) fn is_live(&self) -> bool {
        self.live.load(Ordering::Relaxed)
    }

    /// Returns whether a provider may record spans, as far as the last checkout has found out. Checkouts
    /// query the global provider again.
    pub(crate) fn may_listen(&self) -> bool {
        matches!(self.tracer, TracerSource::Given(_)) || self.is_live()
    }

    /// Opens a span, and records whether the provider is real.
    pub(crate) fn open(&self, builder: SpanBuilder, parent: &Context) -> BoxedSpan {
        let span = self.tracer.open(builder, parent);
        let live = is_real(&span, parent);
        // A suppressed context does not show whether the provider is real.
        if live != self.is_live() && !parent.is_telemetry_suppressed() {
            self.live.store(live, Ordering::Relaxed);
        }
        span
    }

    /// Opens a span if there is a real provider. Without one, queries the global provider each time.
    pub(crate) fn open_if_live(&self, builder: SpanBuilder, parent: &Context) -> Option<BoxedSpan> {
        let taken = match &self.tracer {
            TracerSource::Global(taken) if !self.is_live() => taken,
            _ => {
                let span = self.open(builder, parent);
                return is_real(&span, parent).then_some(span);
            }
        };
        let tracer = global::tracer_with_scope(scope());
        let span = tracer.build_with_context(builder, parent);
        is_real(&span, parent).then(|| {
            taken.store(Arc::new(tracer));
            self.live.store(true, Ordering::Relaxed);
            span
        })
    }

    /// Opens the span of a checkout; `None` if no provider records it.
    pub(crate) fn start(
        &self,
        pool: &Arc<str>,
        checkout: Checkout,
        parent: &Context,
    ) -> Option<CheckoutSpan> {
        if !self.is_worth_a_span() {
            return None;
        }
        // The span kind is internal, which is the default.
        let mut span = self.open(SpanBuilder::from_name(NAME), parent);
        if span.is_recording() {
            let caller = checkout.caller();
            span.set_attribute(KeyValue::new(
                DB_CLIENT_CONNECTION_POOL_NAME,
                Arc::clone(pool),
            ));
            span.set_attribute(KeyValue::new(CODE_FILE_PATH, caller.file()));
            span.set_attribute(KeyValue::new(CODE_LINE_NUMBER, i64::from(caller.line())));
            if let Some(label) = checkout.label_text() {
                span.set_attribute(KeyValue::new(LABEL, label));
            }
        }
        Some(CheckoutSpan(span))
    }
}

/// Returns the trace that a checkout belongs to, sampled or not: that of its span, or without a span
/// that of its context.
pub(crate) fn trace_of(span: Option<&CheckoutSpan>, context: &Context) -> Option<TraceId> {
    let of = |span: &SpanContext| span.is_valid().then(|| span.trace_id());
    match span {
        Some(span) => of(span.0.span_context()),
        None if context.has_active_span() => of(context.span().span_context()),
        None => None,
    }
}

/// Returns whether a span comes from a real provider. A no-op tracer returns the parent's span context,
/// which may be valid if it is a remote one.
fn is_real(span: &BoxedSpan, parent: &Context) -> bool {
    let id = span.span_context().span_id();
    span.span_context().is_valid() && id != parent.span().span_context().span_id()
}

/// The open span of a checkout; it ends when dropped.
pub(crate) struct CheckoutSpan(BoxedSpan);

impl CheckoutSpan {
    /// Adds an event for a completed phase of the wait.
    pub(crate) fn waited(&mut self, phase: Phase, time: Duration) {
        if self.0.is_recording() {
            let took = KeyValue::new(PHASE_TIME.name, time.as_secs_f64());
            self.0.add_event(phase.as_str(), vec![took]);
        }
    }

    pub(crate) fn failed(mut self, error: &PoolError) {
        if self.0.is_recording() {
            self.0
                .set_attribute(KeyValue::new(ERROR_TYPE, error.error_type()));
            self.0.set_status(Status::error(error.to_string()));
        }
    }

    /// Ends the span of a cancelled checkout: with an error type, but without an error status.
    pub(crate) fn canceled(mut self) {
        if self.0.is_recording() {
            self.0.set_attribute(KeyValue::new(ERROR_TYPE, "canceled"));
        }
    }
}

impl fmt::Debug for Tracing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tracing")
            .field("live", &self.live)
            .finish_non_exhaustive()
    }
}
