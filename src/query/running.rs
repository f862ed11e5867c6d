//! A query in flight. It ends exactly once: finished, failed or cancelled.

use std::sync::Weak;

use opentelemetry::global::BoxedSpan;
use opentelemetry::trace::{Span, Status};
use opentelemetry::{Context, KeyValue};
use opentelemetry_semantic_conventions::attribute::{
    DB_RESPONSE_RETURNED_ROWS, DB_RESPONSE_STATUS_CODE, ERROR_TYPE,
};
use tokio::time::Instant;

use super::statement_cache::CachedStatement;
use crate::checkout::query_context::{Ended, QueryFailure, QueryObserver};

/// A query in flight. If it is dropped before it has ended, it is recorded as cancelled.
pub(super) struct Running {
    pub(super) since: Instant,
    /// Records the query; `None` for queries of the pool itself. Weak, because the observer may hold
    /// the pool whose connection holds this value.
    pub(super) observer: Option<Weak<dyn QueryObserver>>,
    /// Whether it is part of a request.
    pub(super) in_request: bool,
    pub(super) span: Option<BoxedSpan>,
    /// The hash of its text, if the text has been printed.
    pub(super) hash: Option<u64>,
    /// Its statement, once it is identified.
    pub(super) statement: Option<CachedStatement>,
    pub(super) echo: Option<Box<Echo>>,
    /// The numbers of the last command sent and the last one answered before this query; `None`
    /// without access to the wire.
    pub(super) sent_before: Option<u64>,
    pub(super) answered_before: Option<u64>,
    /// The number of the last command sent before the next query: a command of this query, unless the
    /// two are pipelined.
    pub(super) sent_after: Option<u64>,
    /// The number of queries that had finished on this connection before this one started.
    pub(super) finished_before: u64,
    /// The number of queries that had finished when one that started after this query's answer did; `None` until
    /// one has.
    pub(super) overtaken: Option<u64>,
    /// Whether other queries were in flight at the same time.
    pub(super) shared: bool,
    pub(super) ended: bool,
}

/// A statement as it is logged, and the trace context of the log event.
pub(super) struct Echo {
    pub(super) statement: String,
    pub(super) context: Context,
}

impl Running {
    pub(super) fn end(mut self, at: Instant, failure: Option<&QueryFailure>, rows: Option<u64>) {
        self.finish(at, failure, rows);
    }

    fn finish(&mut self, at: Instant, failure: Option<&QueryFailure>, rows: Option<u64>) {
        self.ended = true;
        let took = at.saturating_duration_since(self.since);
        if let Some(echo) = self.echo.take() {
            let Echo { statement, context } = *echo;
            let _in_its_trace = context.attach();
            let error = failure.map(|failure| &*failure.error_type);
            tracing::info!(
                target: "poolscope::echo",
                took_ms = took.as_micros() as f64 / 1e3,
                failed = failure.is_some(),
                error.type = error,
                "{statement}"
            );
        }
        if let Some(mut span) = self.span.take() {
            if let Some(rows) = rows {
                let rows = i64::try_from(rows).unwrap_or(i64::MAX);
                span.set_attribute(KeyValue::new(DB_RESPONSE_RETURNED_ROWS, rows));
            }
            if let Some(failure) = failure {
                set_failure(&mut span, failure);
            }
            span.end();
        }
        if let Some(observer) = self.observer.as_ref().and_then(Weak::upgrade) {
            observer.query_ended(&Ended {
                took,
                at,
                failure,
                statement: self.statement.map(|statement| statement.id),
            });
        }
    }
}

/// Marks a span as failed, without the server's text, because that may quote data.
pub(super) fn set_failure(span: &mut BoxedSpan, failure: &QueryFailure) {
    let error_type = failure.error_type.clone();
    span.set_attribute(KeyValue::new(ERROR_TYPE, error_type));
    if let Some(code) = &failure.status_code {
        span.set_attribute(KeyValue::new(DB_RESPONSE_STATUS_CODE, code.clone()));
    }
    if *failure != QueryFailure::CANCELED {
        span.set_status(Status::error(failure.error_type.clone()));
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if !self.ended {
            self.finish(Instant::now(), Some(&QueryFailure::CANCELED), None);
        }
    }
}
