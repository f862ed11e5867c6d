//! Observes the queries on a connection through diesel's `Instrumentation`.

mod failure;
mod in_flight;
mod instrumentation;
mod options;
mod running;
mod set_up;
mod span;
mod state;
mod statement;
mod statement_cache;
mod streams;
mod text;
mod transaction;

pub(crate) use self::failure::error_type;
pub(crate) use self::instrumentation::QueryInstrumentation;
pub(crate) use self::options::QueryOptions;
pub(crate) use self::set_up::SetUpInstrumentation;
pub(crate) use self::state::QueryState;
pub(crate) use self::text::describe;
