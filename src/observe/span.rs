//! The span of a checkout, through the OpenTelemetry API.

use std::sync::Arc;

use opentelemetry::global::BoxedSpan;
use opentelemetry::trace::{Span, SpanBuilder, Status, TraceContextExt};
use opentelemetry::{Context, KeyValue};
use opentelemetry_semantic_conventions::attribute::{
    CODE_FILE_PATH, CODE_LINE_NUMBER, DB_CLIENT_CONNECTION_POOL_NAME, ERROR_TYPE,
};

use crate::checkout::Checkout;
use crate::checkout::wait_phase::{Phase, Phases};
use crate::error::PoolError;
use crate::metrics::catalog::LABEL;
use crate::record::culprits::Culprits;
use crate::record::ledger::SpanRef;
use crate::telemetry::Tracing;

/// Name of the span. The pool's name is an attribute.
const NAME: &str = "pool.checkout";

/// Starts the span of a checkout; `None` if no provider may record it.
pub(crate) fn start(
    tracing: &Tracing,
    pool: &Arc<str>,
    checkout: Checkout,
    parent: &Context,
) -> Option<CheckoutSpan> {
    if !tracing.is_worth_a_span() {
        return None;
    }
    // The span kind is internal, which is the default.
    let mut span = tracing.open(SpanBuilder::from_name(NAME), parent);
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

/// Returns the span that others may link to, sampled or not: that of the checkout, or without one that of
/// its context.
pub(crate) fn reference(span: Option<&CheckoutSpan>, context: &Context) -> Option<SpanRef> {
    match span {
        Some(span) => SpanRef::of(span.0.span_context()),
        None if context.has_active_span() => SpanRef::of(context.span().span_context()),
        None => None,
    }
}

/// Attribute of a link: the part of the wait that the linked hold owes, in seconds.
const BLAMED_TIME: &str = "poolscope.blamed_time";

/// The open span of a checkout; it ends when dropped.
pub(crate) struct CheckoutSpan(BoxedSpan);

impl CheckoutSpan {
    /// Adds the time of each phase of the wait.
    pub(crate) fn waited(&mut self, phases: &Phases) {
        if !self.0.is_recording() {
            return;
        }
        for (phase, time) in phases.spent() {
            let key = match phase {
                Phase::Queued => "poolscope.checkout.queued_time",
                Phase::Connecting => "poolscope.checkout.connecting_time",
                Phase::Pinging => "poolscope.checkout.pinging_time",
            };
            self.0.set_attribute(KeyValue::new(key, time.as_secs_f64()));
        }
    }

    /// Links to the holds that the checkout has waited for.
    pub(crate) fn waited_for(&mut self, culprits: &Culprits) {
        if !self.0.is_recording() {
            return;
        }
        for (span, site, owed) in &culprits.links {
            let mut attributes = site.attributes();
            attributes.push(KeyValue::new(BLAMED_TIME, owed.seconds()));
            self.0.add_link(span.context(), attributes);
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
