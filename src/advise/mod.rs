//! What is predicted from a load that was learned: pure functions, without clock, lock or I/O.

mod model;
mod score;

pub(crate) use self::model::{Model, NotEnough, Prediction};
pub use self::score::{Accuracy, Comparison};
