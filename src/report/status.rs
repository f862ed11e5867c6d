//! `status`: the pool's own view, without I/O.

use serde::Serialize;

use super::source::Source;
use super::timings::seconds;
use crate::inventory::Availability;
use crate::observe::Observe;
use crate::observe::ledger::Ledger;
use crate::observe::window::Span;
use crate::phase::Phase;
use crate::totals::Totals;

/// The pool at this instant. The seed system's `check_pool_status`.
#[non_exhaustive]
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Status {
    /// The pool's name.
    pub pool: String,
    /// Whether it hands out connections.
    pub state: Availability,
    /// Connections the pool keeps open.
    pub pool_size: u32,
    /// Connections handed out.
    pub checked_out: u32,
    /// Connections open beyond the pool size.
    pub overflow: u32,
    /// Open connections.
    pub total_connections: u32,
    /// Open connections that nobody holds.
    pub idle: u32,
    /// Requests waiting for a connection.
    pub pending: u32,
    /// What those requests wait for.
    pub waiting_for: WaitingFor,
    /// The most connections the pool may have open: pool size and overflow.
    pub max_connections: u32,
    /// What has happened since the start.
    pub totals: Totals,
    /// Time since the pool was made, in seconds.
    pub uptime_seconds: f64,
}

/// What the requests that wait at this instant wait for. Less than all of them for an existing
/// pool, which does not tell.
#[non_exhaustive]
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct WaitingFor {
    /// Their turn: all connections that may be open are in use, or the pool is suspended.
    pub queued: u32,
    /// A connection that is being opened.
    pub connecting: u32,
    /// The answer to a pre-ping.
    pub pinging: u32,
}

impl WaitingFor {
    fn read(ledger: &Ledger) -> Self {
        Self {
            queued: ledger.waiting_in(Phase::Queued),
            connecting: ledger.waiting_in(Phase::Connecting),
            pinging: ledger.waiting_in(Phase::Pinging),
        }
    }
}

impl<S: Source> Observe<S> {
    /// The pool at this instant; no I/O.
    #[must_use]
    pub fn status(&self) -> Status {
        let counts = self.recorder.counts();
        let (pending, waiting_for, totals) = self.recorder.read(Span::TenSeconds, |_, book, _| {
            let ledger = &book.ledger;
            (ledger.waiters.len(), WaitingFor::read(ledger), book.totals)
        });
        Status {
            pool: self.name().to_owned(),
            state: self.recorder.availability(),
            pool_size: counts.pool_size,
            checked_out: counts.checked_out(),
            overflow: counts.overflow(),
            total_connections: counts.open,
            idle: counts.idle,
            pending,
            waiting_for,
            max_connections: counts.max_connections(),
            totals: self.recorder.completed(totals),
            uptime_seconds: seconds(self.recorder.started().elapsed()),
        }
    }
}
