//! The addresses of a server: looked up without blocking the runtime, and tried one after the
//! other, each for a part of the time.

mod hanging;
mod lookup;
mod turns;

pub(super) use self::hanging::Hanging;
pub(super) use self::lookup::Lookup;
pub(super) use self::turns::Turns;
