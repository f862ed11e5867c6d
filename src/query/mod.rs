//! What diesel's `Instrumentation` tells of the queries on a connection.

mod statement;
mod watch;

pub use self::watch::is_connection_failure;
pub(crate) use self::watch::{QueryState, QueryWatch};
