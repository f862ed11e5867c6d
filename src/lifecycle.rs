//! What happens to connections, told by the room that manages them to the one that writes it down.

use std::time::Duration;

use crate::backend::ConnectError;

/// Why a connection was closed.
#[non_exhaustive]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CloseReason {
    /// It was older than `pool_recycle`.
    Recycle,
    /// It came back when `pool_size` connections were idle already.
    Overflow,
    /// It failed, came back dirty (a query or a transaction left open), or the server closed it.
    Broken,
    /// The pre-ping failed or hung.
    PingFailed,
    /// The pool was closed.
    Shutdown,
    /// The pool was made smaller.
    Resize,
}

impl CloseReason {
    /// Every reason, in the order of their counters.
    pub const ALL: [Self; 6] = [
        Self::Recycle,
        Self::Overflow,
        Self::Broken,
        Self::PingFailed,
        Self::Shutdown,
        Self::Resize,
    ];

    /// The reason in reports and telemetry.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Recycle => "recycle",
            Self::Overflow => "overflow",
            Self::Broken => "broken",
            Self::PingFailed => "ping_failed",
            Self::Shutdown => "shutdown",
            Self::Resize => "resize",
        }
    }
}

/// Receives what happens to the connections of a pool. Called off the checkout's fast path.
pub trait Lifecycle: Send + Sync {
    /// A connection was opened, and how long that took.
    fn opened(&self, took: Duration) {
        let _ = took;
    }

    /// Opening a connection failed.
    fn connect_failed(&self, error: &ConnectError) {
        let _ = error;
    }

    /// Opening a connection failed again, in the background, while the database is known to be down.
    fn still_down(&self, error: &ConnectError, lasts: Duration) {
        let _ = lasts;
        self.connect_failed(error);
    }

    /// How many requests wait for a connection: asked before one is closed as overflow.
    fn waiting(&self) -> u32 {
        0
    }

    /// The pool may have another number of connections than before.
    fn resized(&self) {}

    /// A connection was closed.
    fn closed(&self, reason: CloseReason) {
        let _ = reason;
    }
}
