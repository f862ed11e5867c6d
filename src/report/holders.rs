//! Holders of connections, as shown in reports.

use serde::Serialize;
use tokio::time::Instant;

use super::source::SourceFacts;
use super::timings::{lasting, seconds};
use crate::backend::SessionState;
use crate::checkout::{ConnectionFacts, TransactionState};
use crate::observe::Observe;
use crate::record::ledger::Holder;
use crate::record::usage::HIDDEN;

/// A checkout that holds a connection now.
#[non_exhaustive]
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct HolderReport {
    /// The source line that checked out the connection: `src/orders.rs:41`. `_HIDDEN` if the routes
    /// may not show source lines.
    pub caller: String,
    /// The label of the checkout, if it has one.
    pub label: Option<&'static str>,
    /// The route of the request; `null` without a [`RequestLayer`](crate::RequestLayer).
    pub route: Option<String>,
    /// The id of the trace that the checkout belongs to.
    pub trace_id: Option<String>,
    /// How long the connection has been held, in seconds.
    pub held_seconds: f64,
    /// The server's id of the session.
    pub process_id: Option<u64>,
    /// The state of the transaction on the connection, if known without a query.
    pub transaction: Option<TransactionState>,
    /// The state of the connection as seen by the pool: `active`, `idle`, `idle_in_transaction` or
    /// `idle_unknown` (idle; transaction state unknown); `null` if its queries are not observed.
    pub state: Option<&'static str>,
    /// Number of queries in flight on the connection; 0 while it is held but not used.
    pub queries_in_flight: Option<u32>,
    /// The summary of the last query, without text or values: `SELECT orders`. `null` before the
    /// first query, and if a query in flight is unknown.
    pub last_query: Option<String>,
    /// Whether the hold exceeds the leak threshold.
    pub leak: bool,
}

impl HolderReport {
    /// Returns the state of the connection as seen by the pool.
    pub(super) fn state(&self) -> SessionState {
        match self.queries_in_flight {
            Some(queries) => SessionState::seen(queries, self.transaction),
            None => SessionState::IdleUnknown,
        }
    }

    /// Returns text for a sentence: `src/orders.rs:41 (label) for 3.2 s`.
    pub(super) fn sentence(&self) -> String {
        if self.caller == HIDDEN {
            let name = self.label.or(self.route.as_deref()).unwrap_or("a checkout");
            return format!("{name} for {}", lasting(self.held_seconds));
        }
        let label = self
            .label
            .map(|label| format!(" ({label})"))
            .unwrap_or_default();
        format!("{}{label} for {}", self.caller, lasting(self.held_seconds))
    }
}

impl<S> Observe<S> {
    /// Returns all holders of connections, the longest hold first.
    pub(crate) fn holder_reports(&self, facts: &SourceFacts) -> Vec<HolderReport> {
        let now = Instant::now();
        let state = self.recorder.state();
        let mut holders: Vec<_> = state.ledger.holders.iter().cloned().collect();
        drop(state);
        holders.sort_by_key(|holder| holder.since);
        let report = |holder: Holder| {
            let held = holder.held(now);
            let (caller, seen) = (holder.caller(), holder.facts.as_deref());
            HolderReport {
                caller: match facts.source_lines {
                    true => format!("{}:{}", caller.file(), caller.line()),
                    false => HIDDEN.to_owned(),
                },
                label: holder.checkout.label_text(),
                route: holder.route().map(|route| route.to_string()),
                trace_id: holder.trace.map(|trace| trace.to_string()),
                held_seconds: seconds(held),
                process_id: seen.and_then(ConnectionFacts::process_id),
                transaction: seen.and_then(ConnectionFacts::transaction),
                queries_in_flight: seen.and_then(ConnectionFacts::queries_in_flight),
                state: holder.state().map(SessionState::as_str),
                last_query: seen.and_then(ConnectionFacts::last_query),
                leak: self.recorder.leaks.is_leak(held),
            }
        };
        holders.into_iter().map(report).collect()
    }
}
