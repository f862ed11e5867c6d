//! Log events of a pool, and the pool snapshot in a timeout's error.

use std::sync::PoisonError;
use std::time::Duration;

use tokio::time::Instant;

use crate::backend::{ConnectError, InvalidatingError};
use crate::checkout::Checkout;
use crate::checkout::wait_phase::{Phase, Phases};
use crate::error::{LongestHolder, PoolSnapshot};
use crate::log_limiter::LogLimiter;
use crate::record::culprits::Culprits;
use crate::record::events::Event;
use crate::record::nested::Borrower;
use crate::record::pool_events::{CloseReason, PoolEvents};
use crate::record::recorder::{Recorder, TARGET};
use crate::record::timeline::Size;

/// Interval at which a lasting outage, or the reason for closing connections, is logged again.
const LASTING: Duration = Duration::from_secs(60);

impl Recorder {
    /// Logs a wait that was longer than the `slow_wait` setting, at most one per second.
    #[cold]
    pub(crate) fn log_slow_wait(
        &self,
        checkout: Checkout,
        waited: Duration,
        phases: Option<&Phases>,
    ) {
        let Some(suppressed) = self.slow_waits.try_log(Instant::now()) else {
            return;
        };
        let caller = checkout.caller();
        let millis = |phase| phases.map(|phases| phases.of(phase).as_millis() as u64);
        tracing::warn!(
            target: TARGET,
            pool = &*self.name,
            waited_ms = waited.as_millis() as u64,
            queued_ms = millis(Phase::Queued),
            connecting_ms = millis(Phase::Connecting),
            pinging_ms = millis(Phase::Pinging),
            caller = %format_args!("{}:{}", caller.file(), caller.line()),
            label = checkout.label_text(),
            others_within_a_second = suppressed,
            "slow wait for a connection",
        );
    }

    fn count_failed_dial(&self, error: &ConnectError) {
        let now = self.clock.now();
        let mut state = self.state();
        if error.is_absence() {
            state.events.outage(now, error.kind());
        }
        *state.totals.connect_failures.get_or_insert_default() += 1;
        state.last_connect_error = Some((error.clone(), Instant::now()));
    }

    /// Returns the pool snapshot for the error of a timeout of this borrower.
    pub(crate) fn scene(
        &self,
        now: Instant,
        borrower: &Borrower<'_>,
        culprits: &Culprits,
    ) -> PoolSnapshot {
        let counts = self.counts();
        let already_held = self.held_at_timeout(borrower, now);
        let state = self.state();
        PoolSnapshot {
            pool: self.name.to_string(),
            pool_size: counts.pool_size,
            max_overflow: counts.max_overflow,
            checked_out: state.ledger.holders.len(),
            pending: state.ledger.waiters.len(),
            longest_holder: state.ledger.longest_holder().map(|holder| LongestHolder {
                caller: holder.caller(),
                label: holder.checkout.label_text(),
                held: holder.held(now),
            }),
            most_blamed: culprits.most_blamed(),
            already_held,
            last_connect_error: state
                .last_connect_error
                .as_ref()
                .map(|(error, at)| (error.clone(), now.saturating_duration_since(*at))),
        }
    }
}

impl PoolEvents for Recorder {
    fn resized(&self) {
        let size = Size::of(self.counts());
        let now = self.clock.now();
        let mut state = self.state();
        state.history.set_size(size.max_connections.into());
        state.windows.set_size(now, size);
        state.events.add(now, Event::Resized(size));
    }

    fn opened(&self, took: Duration) {
        let back;
        {
            let mut state = self.state();
            state.totals.connections_opened += 1;
            back = state.last_connect_error.take().is_some();
            state.last_opened = Some(Instant::now());
            let now = self.clock.now();
            state.windows.at(now).create.record(took);
            state.events.opened(now);
            state.creates.record_time(took);
        }
        if back {
            tracing::info!(target: TARGET, pool = &*self.name, "connections can be opened again");
        }
        self.metrics.created(took);
    }

    fn connect_failed(&self, error: &ConnectError) {
        self.count_failed_dial(error);
        if let Some(suppressed) = self.connect_failures_log.try_log(Instant::now()) {
            tracing::warn!(
                target: TARGET,
                pool = &*self.name,
                error.type = error.kind().as_str(),
                others_within_a_second = suppressed,
                "could not open a connection: {error}",
            );
        }
    }

    fn still_down(&self, error: &ConnectError, lasts: Duration) {
        self.count_failed_dial(error);
        // `connect_failed` has logged its beginning.
        if lasts < LASTING {
            return;
        }
        if let Some(suppressed) = self.lasting_outages.try_log_every(LASTING, Instant::now()) {
            tracing::warn!(
                target: TARGET,
                pool = &*self.name,
                error.type = error.kind().as_str(),
                lasts_s = lasts.as_secs(),
                others_within_a_minute = suppressed,
                "the database is still down: {error}",
            );
        }
    }

    fn waiting(&self) -> u32 {
        self.state().ledger.waiters.len()
    }

    fn closed_because(&self, why: &'static str, error_type: &'static str) {
        let logged = {
            let mut log = self
                .closed_because_log
                .lock()
                .unwrap_or_else(PoisonError::into_inner);
            let at = log.iter().position(|(other, _)| *other == why);
            let at = at.unwrap_or_else(|| {
                log.push((why, LogLimiter::default()));
                log.len() - 1
            });
            log[at].1.try_log_every(LASTING, Instant::now())
        };
        if let Some(suppressed) = logged {
            tracing::warn!(
                target: TARGET,
                pool = &*self.name,
                error.type = (!error_type.is_empty()).then_some(error_type),
                others_within_a_minute = suppressed,
                "a connection is closed: {why}",
            );
        }
    }

    fn invalidated(&self, error: &'static InvalidatingError) {
        let now = Instant::now();
        {
            let mut state = self.state();
            state.last_invalidation = Some((error, now));
            state.events.invalidated(self.clock.at(now), error);
        }
        if let Some(suppressed) = self.invalidations_log.try_log(now) {
            tracing::warn!(
                target: TARGET,
                pool = &*self.name,
                db.response.status_code = error.code,
                error.type = error.name,
                others_within_a_second = suppressed,
                "connection invalidated: {}",
                error.meaning,
            );
        }
    }

    fn closed(&self, reason: CloseReason) {
        self.state().totals.connections_closed.count(reason);
        match reason {
            CloseReason::Broken | CloseReason::PingFailed | CloseReason::Invalidated => {
                tracing::info!(target: TARGET, pool = &*self.name,
                    reason = reason.as_str(),
                    "connection closed"
                );
            }
            _ => tracing::debug!(target: TARGET, pool = &*self.name,
                reason = reason.as_str(),
                "connection closed"
            ),
        }
    }
}
