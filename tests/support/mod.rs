//! Real servers, example programs and an HTTP client for the integration tests.
//!
//! Whatever a test starts lives in a [`Folder`](folder::Folder) of its own under the system's
//! temporary folder, on a port of its own. It is gone when the value is dropped or, whatever
//! happens to the test process (also SIGKILL), moments after that ended: see `watchdog.sh`. Linux
//! only, for `/proc`.
//!
//! ```ignore
//! mod support;
//! use support::postgres::{self, Postgres};
//!
//! // One server for the whole test binary, a database for each test.
//! let url = postgres::shared().create_database("fairness");
//! // And one that a test may stop, kill and freeze.
//! let mut own = Postgres::start(postgres::Options::new().max_connections(10));
//! own.pause();
//! ```
#![allow(dead_code, reason = "each test binary uses its own part of it")]

pub mod answers;
pub mod certificates;
pub mod child;
pub mod collector;
pub mod folder;
pub mod http;
pub mod jaeger;
pub mod mariadb;
pub mod otlp;
pub mod pgbouncer;
pub mod ports;
pub mod postgres;
pub mod process;
pub mod programs;
pub mod prometheus;
pub mod proxy;
pub mod server;
pub mod waiting;

/// Whether a server speaks TLS.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Tls {
    /// It does not.
    #[default]
    None,
    /// It does, and takes clients without it too.
    Offer,
    /// It turns away clients without it.
    Require,
}

/// The password of every user that the servers here know; an unusual word, so that tests can look
/// for it where it must not be.
pub const PASSWORD: &str = "hush-hush-4711";
