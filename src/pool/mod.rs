//! The stack with a name on it: [`Pool`], what it is built from, and the drop-in names.

mod builder;
pub mod drop_in;
mod handle;
mod source;
mod stack;

pub use self::builder::PoolBuilder;
pub use self::handle::{Pool, PooledConnection};
pub use self::stack::Stack;
