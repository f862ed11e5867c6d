//! `status`: the pool's own counts, without I/O.

use serde::Serialize;

use super::source::Source;
use super::timings::seconds;
use crate::checkout::wait_phase::Phase;
use crate::observe::Observe;
use crate::record::inventory::Availability;
use crate::record::recorder::PoolState;
use crate::record::totals::Totals;

/// The pool's current state. The seed system's `check_pool_status`.
#[non_exhaustive]
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Status {
    /// The pool's name.
    pub pool: String,
    /// Whether the pool hands out connections.
    pub state: Availability,
    /// Number of connections that the pool keeps open.
    pub pool_size: u32,
    /// Number of connections checked out.
    pub checked_out: u32,
    /// Number of connections open beyond `pool_size`.
    pub overflow: u32,
    /// Number of open connections.
    pub total_connections: u32,
    /// Number of open connections that are not checked out.
    pub idle: u32,
    /// Number of requests waiting for a connection.
    pub pending: u32,
    /// The pending requests, by wait phase.
    pub waiting_for: WaitingFor,
    /// The most connections the pool may have open: pool size and overflow.
    pub max_connections: u32,
    /// Counters since the start.
    pub totals: Totals,
    /// Time since the pool was created, in seconds.
    pub uptime_seconds: f64,
}

/// The currently waiting requests, by wait phase. All 0 for an existing pool, which does not expose
/// the phases.
#[non_exhaustive]
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct WaitingFor {
    /// Requests in the queue: all allowed connections are in use, or the pool is suspended.
    pub queued: u32,
    /// Requests that wait for a connection to be opened.
    pub connecting: u32,
    /// Requests that wait for the answer to a pre-ping.
    pub pinging: u32,
}

impl<S: Source> Observe<S> {
    /// Returns the pool's current state, without I/O.
    #[must_use]
    pub fn status(&self) -> Status {
        let counts = self.recorder.counts();
        let (pending, waiting_for, totals) = {
            let PoolState { ledger, totals, .. } = &*self.recorder.state();
            let waiting_for = WaitingFor {
                queued: ledger.waiting_in(Phase::Queued),
                connecting: ledger.waiting_in(Phase::Connecting),
                pinging: ledger.waiting_in(Phase::Pinging),
            };
            (ledger.waiters.len(), waiting_for, *totals)
        };
        Status {
            pool: self.name().to_owned(),
            state: self.recorder.inventory.availability(),
            pool_size: counts.pool_size,
            checked_out: counts.checked_out(),
            overflow: counts.overflow(),
            total_connections: counts.open,
            idle: counts.idle,
            pending,
            waiting_for,
            max_connections: counts.max_connections(),
            totals: self.recorder.inventory.completed(totals),
            uptime_seconds: seconds(self.recorder.clock.start.elapsed()),
        }
    }
}
