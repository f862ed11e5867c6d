//! What is predicted from a load that was learned: pure functions, without clock, lock or I/O.

mod backlog;
mod bottleneck;
mod bursts;
mod chain;
mod clients;
mod curve;
mod demand;
mod holds;
mod lasting;
mod law;
mod model;
mod returns;
mod score;
mod size;
mod smooth;
#[cfg(test)]
mod tests;
mod variability;
mod waits;

pub(crate) use self::bottleneck::{Bottleneck, Cause};
pub(crate) use self::model::{Model, NotEnough, Prediction};
pub(crate) use self::score::Score;
pub use self::score::{Accuracy, Comparison};
pub(crate) use self::size::smallest;
