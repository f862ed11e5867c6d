//! The connection counts of a pool, which gauges and reports are based on.

use std::sync::Weak;
use std::time::Duration;

use opentelemetry::KeyValue;
use serde::Serialize;

use crate::record::pool_events::PoolEvents;
use crate::record::totals::Totals;

/// The connection counts of a pool at one instant.
#[non_exhaustive]
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Open connections, idle or checked out.
    pub open: u32,
    /// Open connections that are not checked out.
    pub idle: u32,
    /// Connections that the pool keeps open.
    pub pool_size: u32,
    /// Connections that the pool may open beyond `pool_size` under load.
    pub max_overflow: u32,
}

impl Counts {
    /// Creates the counts. Limits `idle` to `open`, so that values read at different instants do not
    /// give a negative count.
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

    /// Returns the number of connections checked out: `open - idle`.
    #[must_use]
    pub const fn checked_out(&self) -> u32 {
        self.open - self.idle
    }

    /// Returns the number of connections open beyond the pool size, at least 0.
    #[must_use]
    pub const fn overflow(&self) -> u32 {
        self.open.saturating_sub(self.pool_size)
    }

    /// Returns the maximum number of open connections: `pool_size + max_overflow`.
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
    /// It hands out connections.
    Open,
    /// It hands out no connections until it is resumed.
    Suspended,
    /// It is closed to new checkouts, and some connections are still in use.
    Draining,
    /// It is closed, and all connections have been returned.
    Closed,
}

/// A service that reports its connection counts.
///
/// A layer over such a service names it as [`inner`](Self::inner) and overrides only what it changes.
pub trait Inventory: Send + Sync + 'static {
    /// Returns the current counts. Called for each checkout, so it must be cheap and do no I/O.
    fn counts(&self) -> Counts;

    /// Returns the inventory under this one; `None` at the bottom. It answers what is not overridden here.
    fn inner(&self) -> Option<&dyn Inventory> {
        None
    }

    /// Returns the number of connections open beyond the pool size. Called for each checkout and
    /// check-in; override it if `counts` takes a lock.
    fn overflow(&self) -> u32 {
        match self.inner() {
            Some(inner) => inner.overflow(),
            None => self.counts().overflow(),
        }
    }

    /// Returns the telemetry attributes of the database: `db.system.name`, and its address if known.
    #[doc(hidden)]
    fn database(&self) -> Vec<KeyValue> {
        self.inner().map_or_else(Vec::new, Inventory::database)
    }

    /// Returns whether the pool hands out connections.
    #[doc(hidden)]
    fn availability(&self) -> Availability {
        self.inner()
            .map_or(Availability::Open, Inventory::availability)
    }

    /// Returns the checkout timeout; `None` if it is unknown.
    #[doc(hidden)]
    fn timeout(&self) -> Option<Duration> {
        self.inner()?.timeout()
    }

    /// Returns the target for the wait of 95 of 100 checkouts; `None` if there is none.
    #[doc(hidden)]
    fn wait_target(&self) -> Option<Duration> {
        self.inner()?.wait_target()
    }

    /// Returns whether open transactions are detected on every connection.
    #[doc(hidden)]
    fn sees_transactions(&self) -> bool {
        self.inner().is_some_and(Inventory::sees_transactions)
    }

    /// Returns the totals, completed with the pool's own counters.
    #[doc(hidden)]
    fn completed(&self, totals: Totals) -> Totals {
        match self.inner() {
            Some(inner) => inner.completed(totals),
            None => totals,
        }
    }

    /// Sets the observer of the connections' lifecycle. The reference is weak, because the observer
    /// holds the inventory.
    fn report_to(&self, observer: Weak<dyn PoolEvents>) {
        if let Some(inner) = self.inner() {
            inner.report_to(observer);
        }
    }
}
