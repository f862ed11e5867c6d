//! Records the start of a query: the counts, the span, and what the statement is.

use std::fmt::Display;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use opentelemetry::global::BoxedSpan;
use opentelemetry::trace::SpanKind;
use tokio::time::Instant;

use super::QueryInstrumentation;
use crate::checkout::query_context::{Statement, StatementId};
use crate::query::running::{Echo, Running};
use crate::query::span::{Start, describe, open};
use crate::query::statement::{self, transaction_open};
use crate::query::statement_cache::CachedStatement;
use crate::query::text;

impl QueryInstrumentation {
    pub(super) fn started(&mut self, query: &dyn Display) {
        let now = Instant::now();
        self.state.started();
        // Printing a statement is expensive, so print it only if something needs its text.
        let mut hash = None;
        if self.state.sees_transactions || std::mem::take(&mut self.begins) {
            let hash = *hash.insert(self.printed.print(query));
            let text = self.printed.of(hash, query);
            let open = transaction_open(text, self.options.kind);
            if let Some(open) = open {
                self.state.in_transaction.store(open, Relaxed);
            }
            self.state.sees_read_only(open, text);
        }
        // The commands of an abandoned query may still be sent before those of this one.
        let shared = self.state.take_exclusive() && {
            self.state.streams.give_up();
            self.under_way.abandon()
        };
        let owner = self.owner();
        let spans = self.options.spans;
        let occupant = owner.as_ref().and_then(|owner| owner.occupant.as_ref());
        // Do not log the pool's own pings.
        let echo = occupant.filter(|_| self.options.echo).map(|occupant| {
            let statement = match self.options.echo_binds {
                true => query.to_string(),
                false => {
                    let hash = *hash.get_or_insert_with(|| self.printed.print(query));
                    self.printed.of(hash, query).to_owned()
                }
            };
            let context = occupant.context.clone();
            Box::new(Echo { statement, context })
        });
        // Identify the statement now if its text was printed, so that an abandoned query is attributed and the
        // sampler sees it. Otherwise that would be expensive, so identify it when it is recorded or finishes.
        let printed = hash.filter(|_| owner.is_some());
        let mut statement = printed.map(|hash| self.identify(hash, query));
        let known = statement.filter(|_| spans && occupant.is_some());
        let known = known.and_then(|statement| self.known_statement(statement, query));
        let mut span = occupant.filter(|_| spans).and_then(|occupant| {
            let start = Start {
                name: None,
                statement: known.as_deref(),
                kind: SpanKind::Client,
                likely: self.recorded,
            };
            open(occupant, &self.options, &start)
        });
        self.recorded = span.is_some();
        // A second query in flight must be distinguishable from the first.
        if hash.is_none() && (span.is_some() || self.under_way.len() > 0) {
            hash = Some(statement::hash(query));
            statement = hash
                .filter(|_| owner.is_some())
                .map(|hash| self.identify(hash, query));
        }
        if let Some(statement) = statement {
            if let Some(span) = &mut span {
                self.describe_on(span, statement, query, known);
            }
            self.keep(statement, query);
        }
        let wire = self.wire.as_ref();
        let answered_before = wire.and_then(|wire| wire.answered());
        self.state.set_live(true, now);
        let sent_before = wire.and_then(|wire| wire.sent());
        let in_request = owner.as_ref().is_some_and(|owner| owner.in_request);
        self.under_way.push(Running {
            since: now,
            observer: owner.map(|owner| owner.observer),
            in_request,
            span,
            hash,
            statement,
            echo,
            answered_before,
            sent_before,
            sent_after: None,
            finished_before: 0,
            overtaken: None,
            shared,
            ended: false,
        });
    }

    /// Identifies a statement that is prepared, if it was not printed at its start.
    pub(super) fn prepared(&mut self, statement: &str) {
        // In a pipeline, it is unknown which query the statement belongs to.
        if let Some(Running {
            observer: Some(_),
            statement: None,
            ..
        }) = self.under_way.only()
        {
            let identified = self.identify(statement::hash(&statement), &statement);
            self.keep(identified, &statement);
            if let Some(running) = self.under_way.only() {
                running.statement = Some(identified);
            }
        }
    }

    /// Returns the statement, unless there are too many distinct ones.
    fn known_statement(
        &mut self,
        statement: CachedStatement,
        query: &dyn Display,
    ) -> Option<Arc<Statement>> {
        match statement.id {
            StatementId::OTHER => None,
            _ => self
                .remembered(statement.hash, query)
                .map(|it| Arc::clone(&it.known.statement)),
        }
    }

    /// Records the statement of a query on its span, which has started with `known`.
    pub(super) fn describe_on(
        &mut self,
        span: &mut BoxedSpan,
        statement: CachedStatement,
        query: &dyn Display,
        known: Option<Arc<Statement>>,
    ) {
        let is_named = known.is_some();
        let known = known.or_else(|| self.known_statement(statement, query));
        let known = known.unwrap_or_else(|| {
            let text = self.printed.of(statement.hash, query);
            Arc::new(text::describe(text, self.options.kind))
        });
        describe(span, &known, &self.options, is_named);
    }
}
