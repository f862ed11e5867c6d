//! Counters since the pool's start.

use serde::Serialize;

use crate::lifecycle::CloseReason;

/// What has happened since the pool was made; every figure only grows.
#[non_exhaustive]
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Totals {
    /// Checkouts that got a connection.
    pub checkouts: u64,
    /// Checkouts that ran into the pool's timeout.
    pub timeouts: u64,
    /// Checkouts that failed because a connection could not be opened, or for another error.
    pub errors: u64,
    /// Checkouts turned away at once: closed pool, or asked not to wait.
    pub rejected: u64,
    /// Checkouts whose caller went away before there was an answer.
    pub canceled: u64,
    /// Connections opened.
    pub connections_opened: u64,
    /// Attempts to open a connection that failed.
    pub connect_failures: u64,
    /// Connections closed, by reason.
    pub connections_closed: Closed,
}

/// Connections closed, by reason.
#[non_exhaustive]
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Closed {
    /// Older than `pool_recycle`.
    pub recycle: u64,
    /// Came back when `pool_size` connections were idle already.
    pub overflow: u64,
    /// Failed, dirty, or closed by the server.
    pub broken: u64,
    /// The pre-ping failed or hung.
    pub ping_failed: u64,
    /// The pool was closed.
    pub shutdown: u64,
}

impl Closed {
    pub(crate) fn count(&mut self, reason: CloseReason) {
        *match reason {
            CloseReason::Recycle => &mut self.recycle,
            CloseReason::Overflow => &mut self.overflow,
            CloseReason::Broken => &mut self.broken,
            CloseReason::PingFailed => &mut self.ping_failed,
            CloseReason::Shutdown => &mut self.shutdown,
        } += 1;
    }
}
