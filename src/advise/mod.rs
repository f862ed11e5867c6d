//! What is predicted from a load that was learned: pure functions, without clock, lock or I/O.

mod model;

pub(crate) use self::model::{Model, NotEnough, Prediction};
