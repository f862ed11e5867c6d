//! The checkout's span, straight through the OpenTelemetry API.

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

use super::families::{LABEL, PHASE_TIME};
use crate::checkout::Checkout;
use crate::error::PoolError;
use crate::phase::Phase;
use crate::telemetry::scope;

/// The span's name; which pool it was is an attribute.
const NAME: &str = "pool.checkout";

/// Makes the spans of one pool.
pub(crate) struct Tracing {
    tracer: Source,
    /// Whether the last span was a real one; while it is not, the global provider is asked again.
    live: AtomicBool,
    /// The tracer was taken, and has opened no span yet.
    untried: AtomicBool,
}

enum Source {
    Given(BoxedTracer),
    /// Of the global provider, as it was when it was taken.
    Global(ArcSwap<BoxedTracer>),
}

impl Source {
    fn open(&self, builder: SpanBuilder, parent: &Context) -> BoxedSpan {
        match self {
            Self::Given(tracer) => tracer.build_with_context(builder, parent),
            Self::Global(tracer) => tracer.load().build_with_context(builder, parent),
        }
    }
}

impl Tracing {
    pub(crate) fn new(tracer: Option<BoxedTracer>) -> Self {
        let global = || Source::Global(ArcSwap::from_pointee(global::tracer_with_scope(scope())));
        Self {
            tracer: tracer.map_or_else(global, Source::Given),
            live: AtomicBool::new(false),
            untried: AtomicBool::new(true),
        }
    }

    /// Takes the global provider again, when nothing was listening so far.
    pub(crate) fn bind(&self) {
        if let Source::Global(tracer) = &self.tracer
            && !self.is_live()
        {
            tracer.store(Arc::new(global::tracer_with_scope(scope())));
            self.untried.store(true, Ordering::Relaxed);
        }
    }

    /// Whether a span may find somebody who listens. Where nobody did, one is opened each time that the
    /// global provider is taken again.
    fn is_worth_a_span(&self) -> bool {
        let untried =
            || self.untried.load(Ordering::Relaxed) && self.untried.swap(false, Ordering::Relaxed);
        self.may_listen() || untried()
    }

    /// Whether anybody listened when the last span was opened.
    pub(crate) fn is_live(&self) -> bool {
        self.live.load(Ordering::Relaxed)
    }

    /// Whether somebody may listen: as a checkout has found, for it asks the global provider again.
    pub(crate) fn may_listen(&self) -> bool {
        matches!(self.tracer, Source::Given(_)) || self.is_live()
    }

    /// Opens a span.
    pub(crate) fn open(&self, builder: SpanBuilder, parent: &Context) -> BoxedSpan {
        let span = self.tracer.open(builder, parent);
        let live = is_real(&span, parent);
        // Where telemetry is suppressed nothing is found out.
        if live != self.is_live() && !parent.is_telemetry_suppressed() {
            self.live.store(live, Ordering::Relaxed);
        }
        span
    }

    /// Opens a span, if anybody listens by now: while nobody does the global provider is asked each
    /// time.
    pub(crate) fn open_if_live(&self, builder: SpanBuilder, parent: &Context) -> Option<BoxedSpan> {
        let taken = match &self.tracer {
            Source::Global(taken) if !self.is_live() => taken,
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

    /// Opens a checkout's span, if anybody may want it.
    pub(crate) fn start(
        &self,
        pool: &Arc<str>,
        checkout: Checkout,
        parent: &Context,
    ) -> Option<CheckoutSpan> {
        if !self.is_worth_a_span() {
            return None;
        }
        // Its kind is internal, as that of every span that is not told its kind.
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

/// The trace that a checkout belongs to, sampled or not; without a span of its own that of its context.
pub(crate) fn trace_of(span: Option<&CheckoutSpan>, context: &Context) -> Option<TraceId> {
    let of = |span: &SpanContext| span.is_valid().then(|| span.trace_id());
    match span {
        Some(span) => of(span.0.span_context()),
        None if context.has_active_span() => of(context.span().span_context()),
        None => None,
    }
}

/// A tracer that does nothing gives the parent back, which may be valid: a remote one.
fn is_real(span: &BoxedSpan, parent: &Context) -> bool {
    let id = span.span_context().span_id();
    span.span_context().is_valid() && id != parent.span().span_context().span_id()
}

/// An open span; it ends when dropped.
pub(crate) struct CheckoutSpan(BoxedSpan);

impl CheckoutSpan {
    /// A phase of the wait is over.
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

    /// The caller went away: no error of ours, but no success either.
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
