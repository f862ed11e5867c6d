//! Nested checkouts: a checkout that waits while its own request holds a connection of the same pool.
//!
//! Only a checkout that has to queue looks for such a hold. Who holds a connection is in the ledger anyway.

use std::panic::Location;
use std::sync::Arc;

use opentelemetry::trace::TraceId;
use tokio::task;
use tokio::time::Instant;

use crate::checkout::Checkout;
use crate::checkout::wait_phase::Phase;
use crate::error::{AlreadyHeld, HeldBy};
use crate::log_limiter::LogLimiter;
use crate::record::inventory::Availability;
use crate::record::ledger::{Holder, Ledger};
use crate::record::recorder::{PoolState, Recorder, TARGET};
use crate::record::waiters::Waiter;
use crate::request::attribution::Attribution;
use crate::settings::NestedCheckouts;

/// The policy, and the limit of its log.
pub(crate) struct Nested {
    pub(crate) policy: NestedCheckouts,
    log: LogLimiter,
}

impl Nested {
    pub(crate) fn new(policy: NestedCheckouts) -> Self {
        Self {
            policy,
            log: LogLimiter::default(),
        }
    }

    fn is_watched(&self) -> bool {
        self.policy != NestedCheckouts::Off
    }
}

/// On whose behalf a checkout is made, as far as known.
#[derive(Default)]
pub(crate) struct Borrower<'a> {
    pub(crate) request: Option<&'a Arc<Attribution>>,
    pub(crate) trace: Option<TraceId>,
}

/// Returns the task that a checkout runs in. Not needed if its request is known.
pub(crate) fn task_of(request: Option<&Arc<Attribution>>) -> Option<task::Id> {
    match request {
        Some(_) => None,
        None => task::try_id(),
    }
}

/// The hold beside which a checkout waits: its key, and its beginning, because keys are used again.
#[derive(Debug, Clone, Copy)]
pub(crate) struct OwnHold {
    key: u32,
    since: Instant,
    by: HeldBy,
}

impl Borrower<'_> {
    /// Returns what this borrower and a holder have in common.
    fn shares(&self, task: Option<task::Id>, holder: &Holder) -> Option<HeldBy> {
        if let (Some(own), Some(other)) = (self.request, &holder.request) {
            return Arc::ptr_eq(own, other).then_some(HeldBy::Request);
        }
        let by = if task.is_some() && task == holder.task {
            HeldBy::Task
        } else if self.trace.is_some() && self.trace == holder.trace() {
            HeldBy::Trace
        } else {
            return None;
        };
        by.is_stuck(holder).then_some(by)
    }
}

impl HeldBy {
    /// Returns whether a hold may be one that waits. A task or a trace may do several things at a time,
    /// each on a connection of its own; with a query in flight, its hold does not wait for another.
    fn is_stuck(self, holder: &Holder) -> bool {
        let in_flight = || holder.facts.as_ref()?.queries_in_flight();
        self == Self::Request || in_flight().is_none_or(|queries| queries == 0)
    }
}

impl Ledger {
    /// Returns the longest hold of a borrower, by the strongest evidence.
    fn hold_of(&self, borrower: &Borrower<'_>) -> Option<(OwnHold, &Holder)> {
        let task = task_of(borrower.request);
        let own = self.holders.iter_with_keys().filter_map(|(key, holder)| {
            let by = borrower.shares(task, holder)?;
            let since = holder.since;
            Some((OwnHold { key, since, by }, holder))
        });
        own.min_by_key(|(hold, _)| (hold.by, hold.since))
    }

    /// Returns the waiting checkouts whose own request still holds a connection: the key of that hold,
    /// the evidence, and the source line that waits.
    pub(crate) fn nested(&self) -> impl Iterator<Item = (u32, HeldBy, &'static Location<'static>)> {
        self.waiters.iter().filter_map(|waiter| {
            let OwnHold { key, since, by } = waiter.own_hold?;
            let holder = self.holders.get(key)?;
            let lasts = holder.since == since && by.is_stuck(holder);
            lasts.then_some((key, by, waiter.caller))
        })
    }
}

fn already_held(by: HeldBy, holder: &Holder, now: Instant) -> AlreadyHeld {
    AlreadyHeld {
        by,
        caller: holder.caller(),
        label: holder.checkout.label_text(),
        held: holder.held(now),
    }
}

impl Recorder {
    /// Enters a waiter with the hold that it waits beside. Returns that hold as an error, and enters
    /// nothing, if the policy denies the checkout.
    pub(crate) fn enter_waiter(
        &self,
        state: &mut PoolState,
        checkout: Checkout,
        since: Instant,
        phase: Option<Phase>,
        borrower: &Borrower<'_>,
    ) -> Result<(u32, Option<AlreadyHeld>), AlreadyHeld> {
        // Another phase ends by itself.
        let looks = self.nested.is_watched() && phase.is_none_or(|phase| phase == Phase::Queued);
        let own = looks.then(|| state.ledger.hold_of(borrower)).flatten();
        let own = own.filter(|_| self.is_full(phase));
        let held = own.map(|(hold, holder)| already_held(hold.by, holder, since));
        let own_hold = own.map(|(hold, _)| hold);
        if let Some(held) = held
            && held.by == HeldBy::Request
            && self.nested.policy == NestedCheckouts::Deny
        {
            return Err(held);
        }
        let route = borrower.request.and_then(|it| it.route.as_ref());
        let site = state.usage.id(checkout, route);
        let (each, caller) = (state.blame.mark().each, checkout.caller());
        let waiter = Waiter::new(since, phase, site, each, caller, own_hold);
        let key = state.ledger.waiters.insert(waiter);
        Ok((key, held))
    }

    /// Returns whether a checkout in this phase waits for the return of a connection.
    fn is_full(&self, phase: Option<Phase>) -> bool {
        let open = self.inventory.availability() == Availability::Open;
        let counts = self.counts();
        // A pool of another crate does not report why it makes a checkout wait.
        open && (phase.is_some() || counts.checked_out() >= counts.max_connections())
    }

    /// Returns the connection that the request of a checkout holds when it times out.
    pub(crate) fn held_at_timeout(
        &self,
        borrower: &Borrower<'_>,
        now: Instant,
    ) -> Option<AlreadyHeld> {
        if !self.nested.is_watched() {
            return None;
        }
        let state = self.state();
        let (hold, holder) = state.ledger.hold_of(borrower)?;
        Some(already_held(hold.by, holder, now))
    }

    /// Logs that a checkout begins to wait while its request holds a connection, at most once a second.
    pub(crate) fn log_nested(
        &self,
        checkout: Checkout,
        borrower: &Borrower<'_>,
        held: AlreadyHeld,
    ) {
        let Some(suppressed) = self.nested.log.try_log(Instant::now()) else {
            return;
        };
        let at = |line: &Location<'_>| format!("{}:{}", line.file(), line.line());
        let request = borrower.request;
        tracing::warn!(
            target: TARGET,
            pool = &*self.name,
            caller = at(checkout.caller()),
            label = checkout.label_text(),
            route = request.and_then(|request| request.route.as_deref()),
            trace_id = borrower.trace.map(|trace| trace.to_string()),
            held_at = at(held.caller),
            held_label = held.label,
            held_ms = held.held.as_millis() as u64,
            held_by = held.by.as_str(),
            others_within_a_second = suppressed,
            "a checkout waits for a connection, and {held}: the pool is full, so it waits for itself unless that one is returned first",
        );
    }
}
