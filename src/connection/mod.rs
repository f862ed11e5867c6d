//! Opens, probes, replaces and closes connections.
//!
//! bb8 calls [`Manager`] to open and to assess a connection. [`PoolService`] is the bottom of the tower
//! stack, over poolscope's own bb8 pool or an existing one of the app.

mod admin;
mod between;
mod cancellation;
mod circuit_breaker;
mod connect_attempts;
mod connect_errors;
mod connect_limiter;
mod connection_counter;
mod entry;
mod existing_pool;
mod future;
mod handoff;
mod hooks;
mod jitter;
mod keepalive;
mod lease;
mod limits;
mod manager;
mod opener;
mod outage;
mod own_pool;
mod policy;
mod prober;
mod service;
#[cfg(all(test, feature = "sqlite"))]
mod tests;
mod warm_up;

pub use self::existing_pool::{ExistingLease, ExistingShared};
pub use self::future::ResponseFuture;
pub(crate) use self::hooks::Hooks;
pub use self::lease::Lease;
pub use self::manager::Manager;
pub(crate) use self::opener::{Opener, limit_of_backend};
pub use self::own_pool::OwnShared;
pub(crate) use self::policy::{ConnectionPolicy, PolicySettings};
pub use self::service::{Managed, PoolService};
pub use self::warm_up::WarmUp;
