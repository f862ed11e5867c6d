//! Logs suspected connection leaks: connections held for longer than a threshold.
//!
//! Each is logged once when it passes the threshold, and again when it is returned. The connection
//! itself is left alone.
//!
//! Leak detection costs a checkout nothing: one task per pool sleeps until the oldest hold that has
//! not been reported can pass the threshold.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use opentelemetry::Context;
use tokio::runtime::Handle;
use tokio::task::AbortHandle;
use tokio::time::{Instant, sleep_until};

use crate::backend::SessionState;
use crate::checkout::ConnectionFacts;
use crate::record::events::Event;
use crate::record::ledger::Holder;
use crate::record::recorder::{Recorder, TARGET};
use crate::record::usage::Site;

/// Margin added to the threshold: a leak is longer than the threshold, and timers count in milliseconds.
const TICK: Duration = Duration::from_millis(1);
/// Minimum time between two scans, for short thresholds.
const SHORTEST: Duration = Duration::from_millis(100);
/// Beginnings of the log events.
const FOUND: &str = "possible connection leak: held for";
const RETURNED: &str = "leaked connection returned after";
/// Maximum time between two scans, for long thresholds.
const LONGEST: Duration = Duration::from_secs(3600);

/// The leak threshold, and the task that scans for leaks.
pub(crate) struct Leaks {
    /// A longer hold is a leak. `None` if detection is off.
    pub(crate) threshold: Option<Duration>,
    task: Mutex<Option<AbortHandle>>,
}

impl Leaks {
    /// Creates the detector. `None` or zero turns it off.
    pub(crate) fn new(threshold: Option<Duration>) -> Self {
        Self {
            threshold: threshold.filter(|threshold| !threshold.is_zero()),
            task: Mutex::default(),
        }
    }

    pub(crate) fn is_leak(&self, held: Duration) -> bool {
        self.threshold.is_some_and(|threshold| held > threshold)
    }
}

impl Drop for Leaks {
    fn drop(&mut self) {
        let task = self.task.get_mut().unwrap_or_else(PoisonError::into_inner);
        if let Some(task) = task {
            task.abort();
        }
    }
}

impl Recorder {
    /// Starts the scan task if it is not running. Checkouts call this at most once per second, because
    /// the runtime that ran the previous task may have shut down.
    pub(crate) fn look_for_leaks(self: &Arc<Self>) {
        let Some(threshold) = self.leaks.threshold else {
            return;
        };
        let mut task = self
            .leaks
            .task
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if task.as_ref().is_some_and(|task| !task.is_finished()) {
            return;
        }
        let Ok(runtime) = Handle::try_current() else {
            return;
        };
        let recorder = Arc::downgrade(self);
        let looking = runtime.spawn(async move {
            loop {
                let next = match recorder.upgrade() {
                    Some(recorder) => recorder.log_leaks(threshold),
                    None => return,
                };
                sleep_until(next).await;
            }
        });
        *task = Some(looking.abort_handle());
    }

    /// Returns how many connections are currently held for longer than the threshold. `None` if
    /// detection is off.
    pub(crate) fn leaking(&self) -> Option<usize> {
        self.leaks.threshold?;
        let now = Instant::now();
        let state = self.state();
        let holders = state.ledger.holders.iter();
        let leaking = holders.filter(|holder| self.leaks.is_leak(holder.held(now)));
        Some(leaking.count())
    }

    /// Logs the holds that have become leaks. Returns when to scan next.
    fn log_leaks(&self, threshold: Duration) -> Instant {
        let now = Instant::now();
        let mut found = Vec::new();
        // A hold that begins after `now` cannot be a leak before this.
        let due = |since: Instant| since.checked_add(threshold.saturating_add(TICK));
        let mut next = due(now);
        {
            let mut state = self.state();
            let holders = state.ledger.holders.iter_mut();
            for holder in holders.filter(|holder| !holder.leak_reported) {
                if holder.held(now) > threshold {
                    holder.leak_reported = true;
                    found.push(holder.clone());
                } else {
                    next = due(holder.since).min(next);
                }
            }
            state.totals.leaks += found.len() as u64;
            let at = self.clock.at(now);
            for holder in &found {
                state.events.add(
                    at,
                    Event::Leaked(Site::new(holder.checkout, holder.route())),
                );
            }
        }
        found.sort_by_key(|holder| holder.since);
        for holder in &found {
            self.log_leak(holder, holder.held(now), FOUND);
        }
        let (soonest, latest) = (now + SHORTEST, now + LONGEST);
        next.unwrap_or(latest).clamp(soonest, latest)
    }

    /// Logs the return of a connection that was held for too long. If the scan task had not reported
    /// the leak yet, logs the leak first.
    pub(crate) fn log_end_of_leak(&self, holder: &Holder, held: Duration) {
        if !self.leaks.is_leak(held) {
            return;
        }
        if !holder.leak_reported {
            self.log_leak(holder, held, FOUND);
        }
        self.log_leak(holder, held, RETURNED);
    }

    fn log_leak(&self, holder: &Holder, held: Duration, event: &str) {
        let (facts, caller) = (holder.facts.as_deref(), holder.caller());
        let last_query = facts.and_then(ConnectionFacts::last_query);
        // The log record belongs to the trace of the checkout.
        let context = facts
            .and_then(ConnectionFacts::slot)
            .and_then(|slot| slot.read(|occupant| occupant.context.clone()));
        let _in_its_trace = context.map(Context::attach);
        tracing::warn!(
            target: TARGET,
            pool = &*self.name,
            held_ms = held.as_millis() as u64,
            threshold_ms = self.leaks.threshold.map(|threshold| threshold.as_millis() as u64),
            caller = format!("{}:{}", caller.file(), caller.line()),
            label = holder.checkout.label_text(),
            route = holder.route().map(|route| &**route),
            trace_id = holder.trace().map(|trace| trace.to_string()),
            state = holder.state().map(SessionState::as_str),
            process_id = facts.and_then(ConnectionFacts::process_id),
            last_query = last_query.as_deref(),
            "{event} {}",
            describe(holder, held, last_query.as_deref()),
        );
    }
}

/// Returns a leak as text: `61.0 s by src/export.rs:12 (nightly) for /export; idle in a transaction, server
/// process 4711; last query: SELECT users`.
fn describe(holder: &Holder, held: Duration, last_query: Option<&str>) -> String {
    let (held, caller) = (held.as_secs_f64(), holder.caller());
    let mut text = format!("{held:.1} s by {}:{}", caller.file(), caller.line());
    if let Some(label) = holder.checkout.label_text() {
        text += &format!(" ({label})");
    }
    if let Some(route) = holder.route() {
        text += &format!(" for {route}");
    }
    let state = holder.state().map(|state| match state {
        SessionState::Active => "a query is running".to_owned(),
        SessionState::Idle => "idle".to_owned(),
        SessionState::IdleInTransaction => "idle in a transaction".to_owned(),
        SessionState::IdleUnknown | SessionState::Other => "no query running".to_owned(),
    });
    let process_id = holder.facts.as_ref().and_then(|facts| facts.process_id());
    let process = process_id.map(|id| format!("server process {id}"));
    let known: Vec<_> = [state, process].into_iter().flatten().collect();
    if !known.is_empty() {
        text += &format!("; {}", known.join(", "));
    }
    if let Some(query) = last_query {
        text += &format!("; last query: {query}");
    }
    text
}

#[cfg(test)]
mod tests;
