//! Durations and failures of one pool's queries.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use opentelemetry::global::BoxedSpan;
use opentelemetry::trace::SpanBuilder;
use opentelemetry::{Context, KeyValue};
use opentelemetry_semantic_conventions::attribute::{DB_RESPONSE_STATUS_CODE, ERROR_TYPE};
use tokio::time::Instant;

use crate::checkout::query_context::{
    Ended, IdentifiedStatement, QueryFailure, QueryObserver, Repeat, Statement, StatementId,
};
use crate::recent::Sum;
use crate::record::buckets::{Buckets, SECONDS};
use crate::record::by_route::bounded;
use crate::record::recorder::{Recorder, TARGET};
use crate::record::statements::{Spent, Statements};
use crate::request::attribution::{Attribution, RequestRecord, Tally};

/// Kinds of failure with a series of their own; further kinds share `_OTHER`.
const FAILURES: usize = 100;

/// Query durations by outcome, and the statements.
#[derive(Debug)]
pub(crate) struct QueryDurations {
    succeeded: Buckets,
    failed: HashMap<QueryFailure, Buckets>,
    statements: Statements,
}

impl QueryDurations {
    pub(crate) fn new(now: Instant) -> Self {
        Self {
            succeeded: Buckets::new(SECONDS),
            failed: HashMap::new(),
            statements: Statements::new(now),
        }
    }

    /// Records a query. Returns the failure to report: `_OTHER` if there are already [`FAILURES`] kinds
    /// and this is a new one, and `None` if the query succeeded.
    fn record(&mut self, took: Duration, failure: Option<&QueryFailure>) -> Option<QueryFailure> {
        let Some(failure) = failure else {
            self.succeeded.record_time(took);
            return None;
        };
        let other = |_| QueryFailure::OTHER;
        let failed = bounded(&mut self.failed, FAILURES, failure.clone(), other);
        let kept = failed.key().clone();
        let buckets = failed.or_insert_with(|| Buckets::new(SECONDS));
        buckets.record_time(took);
        Some(kept)
    }

    pub(crate) fn each(&self, database: &[KeyValue], emit: &mut dyn FnMut(&Buckets, &[KeyValue])) {
        emit(&self.succeeded, database);
        for (failure, buckets) in &self.failed {
            emit(buckets, &attributes(database, failure));
        }
    }
}

/// Returns the attributes of a failed query's duration.
pub(crate) fn attributes(database: &[KeyValue], failure: &QueryFailure) -> Vec<KeyValue> {
    let mut attributes = database.to_vec();
    attributes.push(KeyValue::new(ERROR_TYPE, failure.error_type.clone()));
    if let Some(code) = &failure.status_code {
        attributes.push(KeyValue::new(DB_RESPONSE_STATUS_CODE, code.clone()));
    }
    attributes
}

impl Recorder {
    /// Returns the time used by each statement, whether or not queries have spans. Empty for an existing
    /// pool whose queries are not watched.
    pub(crate) fn statements(&self) -> Vec<(Arc<Statement>, Sum<Spent>)> {
        self.operations().statements.read(Instant::now())
    }
}

impl QueryObserver for Recorder {
    fn listens(&self) -> bool {
        self.tracing.may_listen()
    }

    fn open_span(&self, builder: SpanBuilder, parent: &Context) -> BoxedSpan {
        self.tracing.open(builder, parent)
    }

    fn statement(
        &self,
        hash: u64,
        read: &mut dyn FnMut() -> Statement,
    ) -> Option<IdentifiedStatement> {
        let find = |statements: &mut Statements| {
            let id = statements.find(hash, Instant::now())?;
            Some(statements.known(id))
        };
        let found = find(&mut self.operations().statements);
        found.unwrap_or_else(|| {
            let statement = read();
            let QueryDurations { statements, .. } = &mut *self.operations();
            let id = statements.learn(hash, statement);
            statements.known(id)
        })
    }

    fn summary(&self, statement: StatementId) -> Option<Arc<str>> {
        let known = self.operations().statements.known(statement)?;
        Some(Arc::clone(&known.statement.summary))
    }

    fn query_ended(&self, query: &Ended<'_>) {
        let failure = {
            let mut operations = self.operations();
            if let Some(statement) = query.statement {
                operations.statements.ended(statement, query.took, query.at);
            }
            operations.record(query.took, query.failure)
        };
        self.metrics
            .query_ended(query.took, &self.database, failure.as_ref());
    }

    fn repeated(&self, request: &Attribution, statement: &Repeat<'_>) {
        let state: *const Self = self;
        let first = request.update(state, |tally| !std::mem::replace(&mut tally.repeated, true));
        let now = Instant::now();
        let route = request.route.as_ref();
        {
            let mut requests = self.requests();
            let count = u64::from(first.unwrap_or(false));
            let repeated = requests.repeated.add(route, count, now);
            statement.text.clone_into(&mut repeated.text);
            statement.summary.clone_into(&mut repeated.summary);
            repeated.caller = Some(statement.caller);
        }
        if let Some(suppressed) = self.n_plus_ones.try_log(now) {
            tracing::warn!(
                target: TARGET,
                pool = &*self.name,
                http.request.method = request.method,
                http.route = route.map(|route| &**route),
                caller = %format_args!("{}:{}", statement.caller.file(), statement.caller.line()),
                db.query.summary = statement.summary,
                db.query.text = statement.text,
                times = statement.times,
                others_within_a_second = suppressed,
                "N+1: a request has sent the same statement {} times so far",
                statement.times,
            );
        }
    }
}

impl RequestRecord for Recorder {
    fn request_ended(&self, request: &Attribution, tally: &Tally) {
        if self.request_metrics {
            self.requests().ended(request, tally);
            self.metrics.request_ended(request, tally);
        }
    }
}
