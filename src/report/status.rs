//! `status`: the pool's own view, without I/O.

use serde::Serialize;

use super::source::Source;
use super::timings::seconds;
use crate::inventory::Availability;
use crate::observe::Observe;
use crate::observe::window::Span;
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
    /// The most connections the pool may have open: pool size and overflow.
    pub max_connections: u32,
    /// What has happened since the start.
    pub totals: Totals,
    /// Time since the pool was made, in seconds.
    pub uptime_seconds: f64,
}

impl<S: Source> Observe<S> {
    /// The pool at this instant; no I/O.
    #[must_use]
    pub fn status(&self) -> Status {
        let counts = self.recorder.counts();
        let (pending, totals) = self.recorder.read(Span::TenSeconds, |_, book, _| {
            (book.ledger.waiters.len(), book.totals)
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
            max_connections: counts.max_connections(),
            totals: self.recorder.completed(totals),
            uptime_seconds: seconds(self.recorder.started().elapsed()),
        }
    }
}
