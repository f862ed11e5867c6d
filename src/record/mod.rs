//! What a pool knows about itself: who holds connections, who waits, and what has happened.
//!
//! Everything that belongs together is under one lock ([`recorder`]), so every reading is consistent. The
//! middleware in `observe/` writes it, and metrics, reports and advice read it.

pub(crate) mod blame;
pub(crate) mod blamed;
pub(crate) mod buckets;
pub(crate) mod by_route;
pub(crate) mod checkouts;
pub(crate) mod clock;
pub(crate) mod culprits;
pub(crate) mod debt;
pub(crate) mod duration_sink;
pub(crate) mod events;
pub(crate) mod histogram;
pub(crate) mod history;
pub(crate) mod hour;
pub(crate) mod interval;
pub(crate) mod inventory;
pub(crate) mod leaks;
pub(crate) mod ledger;
pub(crate) mod living;
mod log;
pub(crate) mod nested;
pub(crate) mod pool_events;
pub(crate) mod queries;
pub(crate) mod readiness;
pub(crate) mod recorder;
pub(crate) mod requests;
pub(crate) mod statements;
pub(crate) mod timeline;
pub(crate) mod totals;
pub(crate) mod traffic;
pub(crate) mod usage;
pub(crate) mod waiters;
pub(crate) mod windows;
