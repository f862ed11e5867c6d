//! Records the end of a query: the times, the outcome, and the repeats within a request.

use std::fmt::Display;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use diesel::result::Error;
use tokio::time::Instant;

use super::QueryInstrumentation;
use crate::backend::is_connection_failure;
use crate::checkout::query_context::{QueryContext, Repeat};
use crate::query::failure::{by_code, failure};
use crate::query::in_flight::Finished;
use crate::query::{statement, text};

impl QueryInstrumentation {
    pub(super) fn finished(&mut self, query: &dyn Display, error: Option<&Error>) {
        let now = Instant::now();
        self.state.finished();
        if let Some(error) = error {
            self.state.failed_with(error);
            if is_connection_failure(error) {
                self.state.failed.store(true, Relaxed);
            }
        }
        let Some(Finished {
            mut running,
            behind,
        }) = self.under_way.finish(|| statement::hash(query))
        else {
            return;
        };
        if self.under_way.len() == 0 {
            self.state.set_live(false, now);
        }
        if let Some(observer) = &running.observer
            && self.identities.are_of(observer)
        {
            // By now, the query is the plain text that was sent, if there is one, and cheap to read.
            let statement = match running.statement {
                Some(statement) => statement,
                None => self.identify(statement::hash(query), query),
            };
            running.statement = Some(statement);
            self.state.leaves(statement.change);
            if running.in_request {
                self.count_in_request(query, statement.hash);
            }
            // Of several queries in flight, the last one that has finished counts as the last query.
            self.keep(statement, query);
        } else {
            let change = self.change(query);
            self.state.leaves(change);
        }
        // The commands of the query: to prepare, to execute and to close. Later commands belong to the
        // queries behind it. If nothing was sent for the query, it failed on the client's side.
        let wire = self.wire.as_ref();
        let commands = running
            .sent_before
            .zip(wire.and_then(|wire| wire.sent()))
            .map(|(before, sent)| before + 1..=sent.saturating_sub(behind))
            .filter(|commands| !commands.is_empty());
        let outcome = wire
            .zip(commands.clone())
            .and_then(|(wire, commands)| wire.outcome(commands));
        // In a pipeline, it is unknown which query a command belongs to.
        let known = outcome.filter(|_| !running.shared);
        let code = known.and_then(|outcome| outcome.error);
        let failure = match error {
            Some(error) => Some(failure(
                error,
                code,
                self.options.kind,
                wire.map(|wire| &**wire),
            )),
            // The query failed after the first row, and diesel has seen no more than that row.
            None => code.map(by_code),
        };
        if let Some(transaction) = &mut self.transaction
            && transaction.statement_ended(failure.as_ref())
        {
            self.transaction = None;
        }
        match (&self.wire, commands, outcome) {
            (Some(wire), Some(commands), Some(outcome))
                if failure.is_none() && !outcome.answered =>
            {
                self.state.streams.add(running, wire, commands);
            }
            _ => running.end(now, failure.as_ref(), known.map(|outcome| outcome.rows)),
        }
    }

    /// Counts the statement in its request. Reports it when the count exceeds the N+1 limit.
    fn count_in_request(&mut self, query: &dyn Display, hash: u64) {
        let Some(limit) = self.options.n_plus_one else {
            return;
        };
        let times = self.state.slot.read(|occupant| {
            let observer = Arc::as_ptr(&occupant.observer);
            let request = occupant.request.as_ref()?;
            request.update(observer, |tally| tally.statement(hash))
        });
        if let Some(times) = times.flatten()
            && times == limit.saturating_add(1)
            && let Some(QueryContext {
                observer,
                request: Some(request),
                caller,
                ..
            }) = self.occupant()
        {
            let known = text::describe(self.printed.of(hash, query), self.options.kind);
            let repeat = Repeat {
                text: &known.text,
                summary: &known.summary,
                caller,
                times,
            };
            observer.repeated(&request, &repeat);
        }
    }
}
