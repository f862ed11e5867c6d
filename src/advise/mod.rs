//! What is predicted from a load that was learned: pure functions, without clock, lock or I/O.

mod chain;
mod curve;
mod demand;
mod model;
mod score;
#[cfg(test)]
mod tests;
mod usl;
mod waits;

pub(crate) use self::model::{Model, NotEnough, Prediction};
pub use self::score::{Accuracy, Comparison};
