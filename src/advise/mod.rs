//! What is predicted from a load that was learned: pure functions, without clock, lock or I/O.

mod bottleneck;
mod chain;
mod curve;
mod demand;
mod holds;
mod law;
mod model;
mod score;
mod size;
#[cfg(test)]
mod tests;
mod variability;
mod waits;

pub(crate) use self::bottleneck::{Bottleneck, Cause};
pub(crate) use self::model::{Model, NotEnough, Prediction};
pub use self::score::{Accuracy, Comparison};
pub(crate) use self::size::smallest;
