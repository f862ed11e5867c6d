//! The tracer of a pool or of the requests: one that was given, or the global one.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use arc_swap::ArcSwap;
use opentelemetry::Context;
use opentelemetry::global::{self, BoxedSpan, BoxedTracer};
use opentelemetry::trace::{Span, SpanBuilder, TraceContextExt, Tracer};

use super::scope;

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
    pub(crate) fn is_worth_a_span(&self) -> bool {
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
}

/// Returns whether a span comes from a real provider. A no-op tracer returns the parent's span context,
/// which may be valid if it is a remote one.
fn is_real(span: &BoxedSpan, parent: &Context) -> bool {
    let id = span.span_context().span_id();
    span.span_context().is_valid() && id != parent.span().span_context().span_id()
}
