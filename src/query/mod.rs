//! What diesel's `Instrumentation` tells of the queries on a connection.

mod statement;
mod watch;

pub(crate) use self::watch::{QueryState, QueryWatch, is_connection_failure};
