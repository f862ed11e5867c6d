//! Records the events of a checkout: the wait begins, the connection is granted or refused, the
//! connection is returned.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use crate::checkout::Checkout;
use crate::checkout::wait_phase::{Phase, Phases};
use crate::error::{AlreadyHeld, PoolError, Rejection};
use crate::record::clock::nanos;
use crate::record::history::Asked;
use crate::record::ledger::Holder;
use crate::record::nested::Borrower;
use crate::record::recorder::{PoolState, Recorder};
use crate::record::usage::SiteKey;

/// Outcome of a checkout that got no connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NotGranted {
    TimedOut,
    Failed,
    Rejected,
    /// Shed by the pool under load.
    Shed,
    /// Shed by a load-shedding layer of the app.
    Overloaded,
    Canceled,
}

impl From<&PoolError> for NotGranted {
    fn from(error: &PoolError) -> Self {
        match error {
            PoolError::TimedOut(_) => Self::TimedOut,
            PoolError::Rejected(Rejection::Shed { .. } | Rejection::TooManyPending { .. }) => {
                Self::Shed
            }
            PoolError::Rejected(Rejection::Overloaded) => Self::Overloaded,
            PoolError::Closed
            | PoolError::RuntimeEnded
            | PoolError::Suspended
            | PoolError::Rejected(_) => Self::Rejected,
            PoolError::ConnectFailed(_) | PoolError::Other(_) => Self::Failed,
        }
    }
}

impl Recorder {
    /// Records that a checkout begins to wait. Returns the key of its waiter, or the connection that its
    /// request already holds if the policy denies a nested checkout.
    pub(crate) fn queued(
        &self,
        checkout: Checkout,
        since: Instant,
        phase: Option<Phase>,
        borrower: &Borrower<'_>,
    ) -> Result<u32, AlreadyHeld> {
        let now = self.clock.at(since);
        let (key, held) = {
            let mut state = self.state();
            state.owe(now);
            let entered = self.enter_waiter(&mut state, checkout, since, phase, borrower)?;
            state.history.asked();
            self.level(&mut state, now).traffic.arrivals += 1;
            entered
        };
        if let Some(held) = held {
            self.log_nested(checkout, borrower, held);
        }
        Ok(key)
    }

    /// Records that a waiting checkout enters another phase.
    pub(crate) fn waits_for(&self, key: u32, phase: Option<Phase>) {
        let now = self.clock.now();
        let mut state = self.state();
        state.owe(now);
        let each = state.blame.mark().each;
        state.ledger.waiters.enter(key, phase, each);
        self.level_blame(&mut state, now);
    }

    /// Records that a checkout got a connection. `waiter` is the key of its waiter if it waited.
    /// Returns the key of the holder.
    pub(crate) fn granted(
        self: &Arc<Self>,
        mut holder: Holder,
        waiter: Option<u32>,
        phases: Option<&Phases>,
    ) -> u32 {
        let (now, waited) = (holder.since, holder.waited);
        if let Some(request) = &holder.request {
            request.tally(self, |tally| {
                tally.used.checkouts += 1;
                tally.used.waited += waited;
            });
        }
        let at = self.clock.at(now);
        let (key, rebind) = {
            let mut state = self.state();
            state.owe(at);
            let queued = match waiter {
                None => {
                    state.history.asked();
                    Duration::ZERO
                }
                Some(key) => {
                    state.ledger.waiters.remove(key);
                    // A pool that reports no phases may have queued it for the whole wait.
                    phases.map_or(waited, |phases| phases.queued)
                }
            };
            (holder.at, holder.mark) = (at, state.blame.mark());
            let asked = at.saturating_sub(nanos(waited));
            let turn = asked + nanos(queued);
            let asked = Asked {
                asked,
                request: holder.request.as_ref().map_or(0, |request| request.number),
                place: SiteKey::of(&holder).number(),
            };
            holder.position = state.history.granted(at, turn, asked);
            state.totals.checkouts += 1;
            state.waits.record_time(waited);
            if let Some(phases) = phases {
                for (phase, time) in phases.spent() {
                    state.phases[phase as usize].record_time(time);
                }
            }
            state.last_granted = Some(now);
            let key = state.ledger.holders.insert(holder);
            let slot = self.level(&mut state, at);
            slot.wait.record(waited);
            if let Some(phases) = phases {
                slot.waited_in(phases);
            }
            slot.traffic.arrivals += u64::from(waiter.is_none());
            let rebind = now >= state.next_bind;
            if rebind {
                state.next_bind = now + Duration::from_secs(1);
            }
            (key, rebind)
        };
        if rebind {
            // The global OpenTelemetry providers may have changed.
            self.metrics.bind(self);
            self.tracing.bind();
            self.look_for_leaks();
        }
        self.metrics.waited(waited, phases);
        key
    }

    /// Records that a checkout got no connection.
    pub(crate) fn refused(
        &self,
        refusal: NotGranted,
        waiter: Option<u32>,
        asked: Instant,
        route: Option<&Arc<str>>,
    ) {
        let now = Instant::now();
        let at = self.clock.at(now);
        let mut state = self.state();
        state.owe(at);
        let waiting = waiter.and_then(|key| state.ledger.waiters.remove(key));
        // Refusals by a closed pool, and of checkouts that do not wait, do not count as demand, because a
        // larger pool would not serve them. A checkout that waited was counted when its wait began.
        if waiter.is_none() && refusal != NotGranted::Rejected {
            state.history.asked();
            state.windows.at(at).traffic.arrivals += 1;
        }
        let was_queued =
            waiting.is_some_and(|waiter| waiter.phase().is_none_or(|it| it == Phase::Queued));
        let is_unserved = match refusal {
            NotGranted::TimedOut | NotGranted::Canceled => was_queued,
            NotGranted::Shed | NotGranted::Overloaded => true,
            NotGranted::Failed | NotGranted::Rejected => false,
        };
        if is_unserved {
            state.history.gave_up(
                at,
                Asked {
                    asked: at.saturating_sub(nanos(now.saturating_duration_since(asked))),
                    request: 0,
                    place: 0,
                },
            );
            state.windows.at(at).traffic.unserved += u64::from(refusal != NotGranted::Canceled);
        }
        let PoolState {
            windows,
            events,
            totals,
            shed,
            ..
        } = &mut *state;
        let traffic = &mut windows.at(at).traffic;
        match refusal {
            NotGranted::TimedOut => {
                totals.timeouts += 1;
                traffic.timeouts += 1;
                events.timed_out(at);
            }
            NotGranted::Failed => totals.errors += 1,
            NotGranted::Rejected | NotGranted::Overloaded => totals.rejected += 1,
            NotGranted::Shed => {
                totals.shed += 1;
                traffic.shed += 1;
                shed.add(route, 1, now);
            }
            NotGranted::Canceled => totals.canceled += 1,
        }
        self.level(&mut state, at);
    }

    /// Records the return of a connection. Returns the time of the return.
    pub(crate) fn returned(&self, key: u32) -> Instant {
        let now = Instant::now();
        let at = self.clock.at(now);
        let mut state = self.state();
        state.owe(at);
        let holder = state.ledger.holders.remove(key);
        let times = holder.as_ref().map(|holder| {
            let held = Duration::from_nanos(at.saturating_sub(holder.at));
            let busy = holder.busy();
            state.windows.timeline.returned(busy.map(nanos));
            self.level(&mut state, at).held.record(held);
            state.holds.record_time(held);
            if let Some(position) = holder.position {
                let queries = holder.queries(busy, self.clock);
                state.history.returned(position, at, queries);
            }
            let site = state.usage.id(holder.checkout, holder.route());
            state.usage.returned(site, holder.waited, held, busy, now);
            state.paid(holder, site, at, busy);
            if self.leaks.is_leak(held) && !holder.leak_reported {
                state.totals.leaks += 1;
            }
            (held, busy)
        });
        state.last_returned = Some(now);
        drop(state);
        if let (Some(holder), Some((held, busy))) = (&holder, times) {
            self.notify_return(holder, held, busy);
        }
        now
    }

    /// Updates everything outside of the pool's lock after a return: leak log, query context, request
    /// and metrics.
    fn notify_return(&self, holder: &Holder, held: Duration, busy: Option<Duration>) {
        self.log_end_of_leak(holder, held);
        if let Some(slot) = holder.facts.as_ref().and_then(|facts| facts.slot()) {
            slot.clear();
        }
        if let Some(request) = &holder.request {
            let state: *const Self = self;
            request.update(state, |tally| {
                tally.used.held += held;
                tally.used.busy += busy.unwrap_or_default();
            });
        }
        self.metrics.held(held);
    }
}
