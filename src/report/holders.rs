//! Who holds connections, as reports show it.

use serde::Serialize;
use tokio::time::Instant;

use super::timings::seconds;
use crate::backend::SessionState;
use crate::checkout::TransactionState;
use crate::observe::leaks::Leaks;
use crate::observe::ledger::Holder;
use crate::observe::usage::HIDDEN;

/// Somebody who holds a connection at this instant.
#[non_exhaustive]
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct HolderReport {
    /// The source line that took the connection: `src/orders.rs:41`. `_HIDDEN` where the routes may
    /// not tell.
    pub caller: String,
    /// Its label, when it gave one.
    pub label: Option<&'static str>,
    /// The route of the request it serves; `null` without a [`RequestLayer`](crate::RequestLayer).
    pub route: Option<String>,
    /// The trace it belongs to.
    pub trace_id: Option<String>,
    /// For how long, in seconds.
    pub held_seconds: f64,
    /// The server's id of the session.
    pub process_id: Option<u64>,
    /// The transaction on the connection, where it can be known without asking.
    pub transaction: Option<TransactionState>,
    /// What the connection does as the pool sees it: `active`, `idle`, `idle_in_transaction` or
    /// `idle_unknown` (whether in a transaction); `null` where its queries are not watched.
    pub state: Option<&'static str>,
    /// Queries under way on the connection; 0 while it is held and not used.
    pub queries_in_flight: Option<u32>,
    /// What its last query does, and to which tables: `SELECT orders`. No text, no values. `null`
    /// before the first, and where it is not known while it is under way.
    pub last_query: Option<String>,
    /// Held for longer than the leak threshold.
    pub leak: bool,
}

impl HolderReport {
    pub(super) fn new(holder: &Holder, now: Instant, leaks: &Leaks) -> Self {
        let held = holder.held(now);
        let caller = holder.caller();
        Self {
            caller: format!("{}:{}", caller.file(), caller.line()),
            label: holder.checkout.label_text(),
            route: holder.route().map(|route| route.to_string()),
            trace_id: holder.trace.map(|trace| trace.to_string()),
            held_seconds: seconds(held),
            process_id: holder.facts.as_ref().and_then(|facts| facts.process_id()),
            transaction: holder.facts.as_ref().and_then(|facts| facts.transaction()),
            queries_in_flight: holder
                .facts
                .as_ref()
                .and_then(|facts| facts.queries_in_flight()),
            state: holder.state().map(SessionState::as_str),
            last_query: holder.facts.as_ref().and_then(|facts| facts.last_query()),
            leak: leaks.is_leak(held),
        }
    }

    /// What its connection does, as far as the pool can tell by itself.
    pub(super) fn state(&self) -> SessionState {
        match self.queries_in_flight {
            Some(queries) => SessionState::seen(queries, self.transaction),
            None => SessionState::IdleUnknown,
        }
    }

    /// The same for those who may not know source lines.
    pub(super) fn without_caller(mut self) -> Self {
        HIDDEN.clone_into(&mut self.caller);
        self
    }

    /// `src/orders.rs:41 (label) for 3.2 s`, for a sentence.
    pub(super) fn sentence(&self) -> String {
        if self.caller == HIDDEN {
            let name = self.label.or(self.route.as_deref()).unwrap_or("a checkout");
            return format!("{name} for {:.1} s", self.held_seconds);
        }
        let label = self
            .label
            .map(|label| format!(" ({label})"))
            .unwrap_or_default();
        format!("{}{label} for {:.1} s", self.caller, self.held_seconds)
    }
}
