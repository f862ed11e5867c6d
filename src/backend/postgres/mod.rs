//! The backend for Postgres.

mod activity;
mod application_name;
mod awaited;
pub(crate) mod commands;
pub(crate) mod connect;
pub(crate) mod error_fields;
mod lock_waits;
mod open;
mod outcomes;
mod parameter_status;
pub(crate) mod reader;
mod reset;
mod role;
mod server_errors;
mod session;
pub(crate) mod tap;
#[cfg(test)]
mod tests;
pub(crate) mod tls;
pub(crate) mod url;
mod validity;
pub(crate) mod wire;
