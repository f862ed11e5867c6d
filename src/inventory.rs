//! How many connections a pool has: the ground on which gauges and reports stand.

use std::sync::Weak;
use std::time::Duration;

use opentelemetry::KeyValue;
use serde::Serialize;

use crate::lifecycle::Lifecycle;
use crate::totals::Totals;

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

/// Whether the pool hands out connections.
#[non_exhaustive]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Availability {
    /// It does.
    Open,
    /// It hands out none until it is resumed.
    Suspended,
    /// Closed to new checkouts; some connections are still in use.
    Draining,
    /// Closed, and all connections are back.
    Closed,
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

    /// What telemetry says of the database: `db.system.name`, and where it is as far as it is known.
    #[doc(hidden)]
    fn database(&self) -> Vec<KeyValue> {
        Vec::new()
    }

    /// Whether connections are handed out.
    #[doc(hidden)]
    fn availability(&self) -> Availability {
        Availability::Open
    }

    /// How long a checkout may take.
    #[doc(hidden)]
    fn timeout(&self) -> Option<Duration> {
        None
    }

    /// What 95 of 100 waits should not exceed.
    #[doc(hidden)]
    fn wait_target(&self) -> Option<Duration> {
        None
    }

    /// Whether it is known of each connection if a transaction is open on it.
    #[doc(hidden)]
    fn sees_transactions(&self) -> bool {
        false
    }

    /// The totals, with what the pool counts by itself.
    #[doc(hidden)]
    fn completed(&self, totals: Totals) -> Totals {
        totals
    }

    /// Asks to be told what happens to connections. Held weakly: the observer holds the inventory.
    fn report_to(&self, observer: Weak<dyn Lifecycle>) {
        let _ = observer;
    }
}
