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
mod lease;
mod manager;
mod opener;
mod service;

pub(crate) use self::care::{Care, CareSettings};
pub use self::existing::{ExistingCare, ExistingLease};
pub use self::lease::Lease;
pub use self::manager::Manager;
pub(crate) use self::opener::{OnConnect, Opener};
pub use self::service::{Managed, OwnCare, PoolService};
