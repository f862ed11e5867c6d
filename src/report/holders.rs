//! Holders of connections, as shown in reports.

use std::collections::HashMap;
use std::panic::Location;

use serde::Serialize;
use tokio::time::Instant;

use super::source::SourceFacts;
use super::timings::{lasting, seconds};
use crate::backend::SessionState;
use crate::checkout::{ConnectionFacts, TransactionState};
use crate::error::HeldBy;
use crate::observe::Observe;
use crate::record::ledger::Holder;
use crate::record::usage::{HIDDEN, Site};

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
    /// A checkout of the same request that waits for another connection; `null` if there is none.
    pub nested_checkout: Option<NestedCheckout>,
}

/// A checkout that waits while its own request holds a connection.
#[non_exhaustive]
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct NestedCheckout {
    /// The source line that waits; `_HIDDEN` if the routes may not show source lines.
    pub caller: String,
    /// What both checkouts have in common: `request`, `task` or `trace`.
    pub by: &'static str,
}

impl HolderReport {
    /// Returns the state of the connection as seen by the pool.
    pub(super) fn state(&self) -> SessionState {
        match self.queries_in_flight {
            Some(queries) => SessionState::seen(queries, self.transaction),
            None => SessionState::IdleUnknown,
        }
    }

    /// Returns text for a sentence: `/orders at src/orders.rs:41 (label) for 3.2 s`.
    pub(super) fn sentence(&self) -> String {
        let is_nameless = self.label.is_none() && self.route.is_none();
        let named = match self.caller == HIDDEN && is_nameless {
            true => "a checkout".to_owned(),
            false => Site {
                caller: self.caller.as_str().into(),
                label: self.label,
                route: self.route.as_deref().map(Into::into),
            }
            .name(),
        };
        format!("{named} for {}", lasting(self.held_seconds))
    }

    /// Returns the route or the label, and the source line: `POST /orders (src/orders.rs:41)`.
    pub(super) fn place(&self) -> String {
        let name = self.route.as_deref().or(self.label);
        match (name, self.caller == HIDDEN) {
            (Some(name), false) => format!("{name} ({})", self.caller),
            (None, false) => self.caller.clone(),
            (name, true) => name.unwrap_or("a checkout").to_owned(),
        }
    }

    /// Returns `src/orders.rs:41 (label)`.
    fn named(&self) -> String {
        let label = self.label.map(|label| format!(" ({label})"));
        format!("{}{}", self.caller, label.unwrap_or_default())
    }

    /// Returns text for a sentence about a checkout of the same request that waits: `src/b.rs:20 waits, and
    /// this request already holds a connection, taken at src/a.rs:10 3.2 s ago`. `None` if none waits.
    pub(super) fn nested_sentence(&self) -> Option<String> {
        let NestedCheckout { caller, by } = self.nested_checkout.as_ref()?;
        let holds = format!("this {by} already holds a connection");
        Some(match self.caller == HIDDEN {
            true => format!("a checkout waits, and {holds}: {}", self.sentence()),
            false => format!(
                "{caller} waits, and {holds}, taken at {} {} ago",
                self.named(),
                lasting(self.held_seconds)
            ),
        })
    }
}

impl<S> Observe<S> {
    /// Returns all holders of connections, the longest hold first.
    pub(crate) fn holder_reports(&self, facts: &SourceFacts) -> Vec<HolderReport> {
        let now = Instant::now();
        let state = self.recorder.state();
        let nested: HashMap<_, _> = state
            .ledger
            .nested()
            .map(|(key, by, caller)| (key, (by, caller)))
            .collect();
        let mut holders: Vec<_> = state
            .ledger
            .holders
            .iter_with_keys()
            .map(|(key, holder)| (holder.clone(), nested.get(&key).copied()))
            .collect();
        drop(state);
        holders.sort_by_key(|(holder, _)| holder.since);
        let line = |caller: &Location<'_>| match facts.source_lines {
            true => format!("{}:{}", caller.file(), caller.line()),
            false => HIDDEN.to_owned(),
        };
        let report = |(holder, nested): (Holder, Option<(HeldBy, &'static Location<'static>)>)| {
            let held = holder.held(now);
            let seen = holder.facts.as_deref();
            HolderReport {
                caller: line(holder.caller()),
                label: holder.checkout.label_text(),
                route: holder.route().map(|route| route.to_string()),
                trace_id: holder.trace().map(|trace| trace.to_string()),
                held_seconds: seconds(held),
                process_id: seen.and_then(ConnectionFacts::process_id),
                transaction: seen.and_then(ConnectionFacts::transaction),
                queries_in_flight: seen.and_then(ConnectionFacts::queries_in_flight),
                state: holder.state().map(SessionState::as_str),
                last_query: seen.and_then(ConnectionFacts::last_query),
                leak: self.recorder.leaks.is_leak(held),
                nested_checkout: nested.map(|(by, caller)| NestedCheckout {
                    caller: line(caller),
                    by: by.as_str(),
                }),
            }
        };
        holders.into_iter().map(report).collect()
    }
}
