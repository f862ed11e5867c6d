//! Observes the queries on a connection through diesel's `Instrumentation`.

mod failure;
mod identified;
mod options;
mod running;
mod span;
mod state;
mod statement;
mod text;
mod transaction;
mod under_way;
mod watch;

pub use self::failure::is_connection_failure;
pub(crate) use self::options::QueryOptions;
pub(crate) use self::state::QueryState;
pub(crate) use self::text::{describe, summary};
pub(crate) use self::watch::QueryWatch;
