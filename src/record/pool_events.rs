//! The lifecycle events of connections, reported by the module that manages them.

use std::time::Duration;

use crate::backend::{ConnectError, InvalidatingError};

/// Why a connection was closed.
#[non_exhaustive]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CloseReason {
    /// It was older than `pool_recycle`.
    Recycle,
    /// It was returned when `pool_size` connections were already idle.
    Overflow,
    /// It failed, was returned with a query or a transaction still open, or was closed by the server.
    Broken,
    /// The pre-ping failed or timed out.
    PingFailed,
    /// The pool was closed.
    Shutdown,
    /// The pool was made smaller.
    Resize,
    /// The app took it out of the pool.
    Taken,
    /// Its session could not be reset, one of the app's hooks failed, or it listened to notifications
    /// while nobody held it.
    Dirty,
    /// It worked, and yet was of no use: an error said so, on this connection or for all that were
    /// opened before, or the pool was resumed after it was opened.
    Invalidated,
}

impl CloseReason {
    /// Every reason, in the order of their counters.
    pub const ALL: [Self; 9] = [
        Self::Recycle,
        Self::Overflow,
        Self::Broken,
        Self::PingFailed,
        Self::Shutdown,
        Self::Resize,
        Self::Taken,
        Self::Dirty,
        Self::Invalidated,
    ];

    /// Returns the name of the reason in reports and telemetry.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Recycle => "recycle",
            Self::Overflow => "overflow",
            Self::Broken => "broken",
            Self::PingFailed => "ping_failed",
            Self::Shutdown => "shutdown",
            Self::Resize => "resize",
            Self::Taken => "taken",
            Self::Dirty => "dirty",
            Self::Invalidated => "invalidated",
        }
    }
}

/// Receives the lifecycle events of a pool's connections. Not called on the checkout's fast path.
pub trait PoolEvents: Send + Sync {
    /// Reports that a connection was opened, and the time this took.
    fn opened(&self, took: Duration) {
        let _ = took;
    }

    /// Reports that opening a connection failed.
    fn connect_failed(&self, error: &ConnectError) {
        let _ = error;
    }

    /// Reports that opening a connection failed again in the background during an outage, and how
    /// long the outage has lasted.
    fn still_down(&self, error: &ConnectError, lasts: Duration) {
        let _ = lasts;
        self.connect_failed(error);
    }

    /// Returns the number of waiting checkouts. Called before a connection is closed as overflow.
    fn waiting(&self) -> u32 {
        0
    }

    /// Reports that the allowed number of connections has changed.
    fn resized(&self) {}

    /// Reports why a connection is about to be closed, with the kind of the error if there is one.
    fn closed_because(&self, why: &'static str, error_type: &'static str) {
        let _ = (why, error_type);
    }

    /// Reports that an error has invalidated a connection, which is closed because of it.
    #[doc(hidden)]
    fn invalidated(&self, error: &'static InvalidatingError) {
        let _ = error;
    }

    /// Reports that a connection was closed.
    fn closed(&self, reason: CloseReason) {
        let _ = reason;
    }
}
