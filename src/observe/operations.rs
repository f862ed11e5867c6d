//! The queries of one pool: how long they took, and how they failed.

use std::collections::HashMap;
use std::time::Duration;

use opentelemetry::global::BoxedSpan;
use opentelemetry::trace::SpanBuilder;
use opentelemetry::{Context, KeyValue};
use opentelemetry_semantic_conventions::attribute::{DB_RESPONSE_STATUS_CODE, ERROR_TYPE};
use tokio::time::Instant;

use super::buckets::{Buckets, SECONDS};
use super::recorder::{Recorder, TARGET};
use crate::attribution::{Attribution, RequestBook, Tally};
use crate::occupant::{QueryFailure, QueryObserver, Repeat};

/// Kinds of failure told apart; further ones are one.
const FAILURES: usize = 100;

/// Durations by outcome.
#[derive(Debug)]
pub(crate) struct Operations {
    succeeded: Buckets,
    failed: HashMap<QueryFailure, Buckets>,
}

impl Default for Operations {
    fn default() -> Self {
        Self {
            succeeded: Buckets::new(SECONDS),
            failed: HashMap::new(),
        }
    }
}

impl Operations {
    /// The failure as it is told: itself, while not too many are known.
    fn record(&mut self, took: Duration, failure: Option<&QueryFailure>) -> Option<QueryFailure> {
        let Some(failure) = failure else {
            self.succeeded.record_time(took);
            return None;
        };
        let mut told = failure.clone();
        if self.failed.len() >= FAILURES && !self.failed.contains_key(failure) {
            told = QueryFailure::OTHER;
        }
        let buckets = self.failed.entry(told.clone());
        buckets
            .or_insert_with(|| Buckets::new(SECONDS))
            .record_time(took);
        Some(told)
    }

    pub(super) fn each(&self, database: &[KeyValue], emit: &mut dyn FnMut(&Buckets, &[KeyValue])) {
        emit(&self.succeeded, database);
        for (failure, buckets) in &self.failed {
            emit(buckets, &attributes(database, failure));
        }
    }
}

/// The attributes of a failed query's duration.
pub(super) fn attributes(database: &[KeyValue], failure: &QueryFailure) -> Vec<KeyValue> {
    let mut attributes = database.to_vec();
    attributes.push(KeyValue::new(ERROR_TYPE, failure.error_type.clone()));
    if let Some(code) = &failure.status_code {
        attributes.push(KeyValue::new(DB_RESPONSE_STATUS_CODE, code.clone()));
    }
    attributes
}

impl QueryObserver for Recorder {
    fn open_span(&self, builder: SpanBuilder, parent: &Context) -> BoxedSpan {
        self.tracing.open(builder, parent)
    }

    fn query_ended(&self, took: Duration, failure: Option<&QueryFailure>) {
        let failure = self.operations().record(took, failure);
        self.metrics
            .query_ended(took, self.database(), failure.as_ref());
    }

    fn repeated(&self, request: &Attribution, statement: &Repeat<'_>) {
        let book: *const Self = self;
        let first = request.update(book, |tally| !std::mem::replace(&mut tally.repeated, true));
        let now = Instant::now();
        let route = request.route.as_ref();
        self.requests()
            .repeated(route, statement, first.unwrap_or(false), now);
        if let Some(untold) = self.n_plus_ones.tell(now) {
            tracing::warn!(
                target: TARGET,
                pool = &*self.name,
                http.request.method = request.method,
                http.route = route.map(|route| &**route),
                db.query.summary = statement.summary,
                db.query.text = statement.text,
                times = statement.times,
                others_within_a_second = untold,
                "N+1: a request has sent the same statement {} times so far",
                statement.times,
            );
        }
    }
}

impl RequestBook for Recorder {
    fn request_ended(&self, request: &Attribution, tally: &Tally) {
        self.requests().ended(request, tally);
        self.metrics.request_ended(request, tally);
    }
}
