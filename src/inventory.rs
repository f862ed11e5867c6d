//! How many connections a pool has: the ground on which gauges and reports stand.

use std::sync::Weak;

use crate::lifecycle::Lifecycle;

/// A consistent reading of a pool's connections.
#[non_exhaustive]
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Open connections, handed out or not.
    pub open: u32,
    /// Open connections that nobody holds.
    pub idle: u32,
    /// Connections the pool keeps open.
    pub pool_size: u32,
    /// Connections it may open beyond `pool_size` under load.
    pub max_overflow: u32,
}

impl Counts {
    /// A reading. `idle` is cut to `open`, so that a torn reading can't give a negative count.
    #[must_use]
    pub const fn new(open: u32, idle: u32, pool_size: u32, max_overflow: u32) -> Self {
        let idle = if idle > open { open } else { idle };
        Self {
            open,
            idle,
            pool_size,
            max_overflow,
        }
    }

    /// Connections handed out: `open - idle`.
    #[must_use]
    pub const fn checked_out(&self) -> u32 {
        self.open - self.idle
    }

    /// Connections open beyond the pool size, never negative.
    #[must_use]
    pub const fn overflow(&self) -> u32 {
        self.open.saturating_sub(self.pool_size)
    }

    /// The most connections the pool may have open: `pool_size + max_overflow`.
    #[must_use]
    pub const fn max_connections(&self) -> u32 {
        self.pool_size.saturating_add(self.max_overflow)
    }
}

/// A service that knows how many connections it has.
pub trait Inventory: Send + Sync + 'static {
    /// The counts at this instant; no I/O, cheap enough for each checkout.
    fn counts(&self) -> Counts;

    /// Connections open beyond the pool size, asked at each checkout and check-in: override it
    /// where `counts` takes a lock.
    fn overflow(&self) -> u32 {
        self.counts().overflow()
    }

    /// Asks to be told what happens to connections. Held weakly: the observer holds the inventory.
    fn report_to(&self, observer: Weak<dyn Lifecycle>) {
        let _ = observer;
    }
}
