//! Counters since the pool's start.

use serde::Serialize;

use crate::record::pool_events::CloseReason;

/// Counters since the pool was created. They never decrease.
#[non_exhaustive]
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Totals {
    /// Checkouts that got a connection.
    pub checkouts: u64,
    /// Checkouts that reached the pool's timeout.
    pub timeouts: u64,
    /// Checkouts that failed because a connection could not be opened, or with another error.
    pub errors: u64,
    /// Checkouts rejected at once: the pool is closed or suspended, the caller asked not to wait, or
    /// another layer shed them.
    pub rejected: u64,
    /// Checkouts that the pool shed because of `DB_POOL_MAX_PENDING` or `DB_POOL_QUEUE_TARGET`.
    pub shed: u64,
    /// Checkouts cancelled by the caller before they finished.
    pub canceled: u64,
    /// Connections held longer than the leak threshold, including those returned since.
    pub leaks: u64,
    /// Connections opened.
    pub connections_opened: u64,
    /// Failed attempts to open a connection; `null` for an existing pool, which does not report them.
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
    /// Returned when `pool_size` connections were already idle.
    pub overflow: u64,
    /// Failed, returned with a query or transaction open, or closed by the server.
    pub broken: u64,
    /// The pre-ping failed or timed out.
    pub ping_failed: u64,
    /// The pool was closed.
    pub shutdown: u64,
    /// The pool was made smaller.
    pub resize: u64,
    /// The app took it out of the pool with [`PooledConnection::take`](crate::PooledConnection::take).
    pub taken: u64,
    /// Its session could not be reset, one of the app's hooks failed, or it listened to notifications
    /// while nobody held it.
    pub dirty: u64,
    /// Of no use any more, as an error said, or opened before the pool was resumed.
    pub invalidated: u64,
    /// Idle longer than an existing pool's idle timeout; this crate's pool has none.
    pub idle_timeout: u64,
}

impl Totals {
    /// Returns the totals with bb8's own counters, for an existing pool, which reports no lifecycle
    /// events.
    pub(crate) fn of_existing(self, bb8: &bb8::Statistics) -> Self {
        Self {
            connections_opened: bb8.connections_created,
            connect_failures: None,
            connections_closed: Closed {
                recycle: bb8.connections_closed_max_lifetime,
                broken: bb8.connections_closed_broken,
                ping_failed: bb8.connections_closed_invalid,
                idle_timeout: bb8.connections_closed_idle_timeout,
                ..Closed::default()
            },
            ..self
        }
    }
}

impl Closed {
    pub(crate) fn count(&mut self, reason: CloseReason) {
        *self.of_mut(reason) += 1;
    }

    pub(crate) fn of(mut self, reason: CloseReason) -> u64 {
        *self.of_mut(reason)
    }

    fn of_mut(&mut self, reason: CloseReason) -> &mut u64 {
        match reason {
            CloseReason::Recycle => &mut self.recycle,
            CloseReason::Overflow => &mut self.overflow,
            CloseReason::Broken => &mut self.broken,
            CloseReason::PingFailed => &mut self.ping_failed,
            CloseReason::Shutdown => &mut self.shutdown,
            CloseReason::Resize => &mut self.resize,
            CloseReason::Taken => &mut self.taken,
            CloseReason::Dirty => &mut self.dirty,
            CloseReason::Invalidated => &mut self.invalidated,
        }
    }
}
