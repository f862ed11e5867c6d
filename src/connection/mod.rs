//! The connections themselves: opened, probed, replaced and closed.
//!
//! [`Manager`] is what bb8 calls to open and judge a connection; [`PoolService`] is the bottom of
//! the tower stack, over a bb8 pool of ours or of somebody else's.

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
