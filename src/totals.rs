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
    /// Checkouts turned away at once: the pool is closed or suspended, they asked not to wait, or a
    /// layer in between shed them.
    pub rejected: u64,
    /// Checkouts that the pool itself turned away for load's sake: `DB_POOL_MAX_PENDING`,
    /// `DB_POOL_QUEUE_TARGET`.
    pub shed: u64,
    /// Checkouts whose caller went away before there was an answer.
    pub canceled: u64,
    /// Connections held for longer than the leak threshold, those that came back included.
    pub leaks: u64,
    /// Connections opened.
    pub connections_opened: u64,
    /// Attempts to open a connection that failed; `null` for an existing pool, which does not tell.
    pub connect_failures: Option<u64>,
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
    /// The pool was made smaller.
    pub resize: u64,
    /// Idle for too long, by an existing pool's own rule; ours has none.
    pub idle_timeout: u64,
}

impl Totals {
    /// With what bb8 counts by itself, for a pool of which we are not told.
    pub(crate) fn of_existing(self, bb8: &bb8::Statistics) -> Self {
        Self {
            connections_opened: bb8.connections_created,
            connect_failures: None,
            connections_closed: Closed {
                recycle: bb8.connections_closed_max_lifetime,
                overflow: 0,
                broken: bb8.connections_closed_broken,
                ping_failed: bb8.connections_closed_invalid,
                shutdown: 0,
                resize: 0,
                idle_timeout: bb8.connections_closed_idle_timeout,
            },
            ..self
        }
    }
}

impl Closed {
    pub(crate) fn count(&mut self, reason: CloseReason) {
        *match reason {
            CloseReason::Recycle => &mut self.recycle,
            CloseReason::Overflow => &mut self.overflow,
            CloseReason::Broken => &mut self.broken,
            CloseReason::PingFailed => &mut self.ping_failed,
            CloseReason::Shutdown => &mut self.shutdown,
            CloseReason::Resize => &mut self.resize,
        } += 1;
    }

    pub(crate) fn of(&self, reason: CloseReason) -> u64 {
        match reason {
            CloseReason::Recycle => self.recycle,
            CloseReason::Overflow => self.overflow,
            CloseReason::Broken => self.broken,
            CloseReason::PingFailed => self.ping_failed,
            CloseReason::Shutdown => self.shutdown,
            CloseReason::Resize => self.resize,
        }
    }
}
