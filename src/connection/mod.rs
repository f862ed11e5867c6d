//! Opens, probes, replaces and closes connections.
//!
//! bb8 calls [`Manager`] to open and to assess a connection. [`PoolService`] is the bottom of the tower
//! stack, over poolscope's own bb8 pool or an existing one of the app.

mod board;
mod care;
mod counter;
mod dials;
mod entry;
mod existing;
mod future;
mod jitter;
mod keepalive;
mod lease;
mod limits;
mod line;
mod manager;
mod opener;
mod outage;
mod own;
mod prober;
mod service;
mod steering;
#[cfg(all(test, feature = "sqlite"))]
mod tests;
mod warm_up;

pub(crate) use self::care::{Care, CareSettings};
pub use self::existing::{ExistingCare, ExistingLease};
pub use self::future::ResponseFuture;
pub use self::lease::Lease;
pub use self::manager::Manager;
pub(crate) use self::opener::{OnConnect, Opener};
pub use self::own::OwnCare;
pub use self::service::{Managed, PoolService};
pub use self::warm_up::WarmUp;
