//! Real servers, example programs and an HTTP client for the integration tests.
//!
//! Each program that a test starts has its own [`Folder`](folder::Folder) under the system's temporary
//! folder, and its own port. It ends when the value is dropped, or moments after the test process ends,
//! even by SIGKILL: see `watchdog.sh`. Linux only, because it uses `/proc`.
//!
//! ```ignore
//! mod support;
//! use support::postgres::{self, Postgres};
//!
//! // One server for the whole test binary, one database for each test.
//! let url = postgres::shared().create_database("fairness");
//! // A server that a test may stop, kill and freeze.
//! let mut own = Postgres::start(postgres::Options::new().max_connections(10));
//! own.pause();
//! ```
#![allow(dead_code, reason = "each test binary uses a part of it")]

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

/// Whether a server supports TLS.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Tls {
    /// No TLS.
    #[default]
    None,
    /// TLS is optional.
    Offer,
    /// Clients without TLS are refused.
    Require,
}

/// The password of every user on these servers; an unusual word, so that tests can search for it where
/// it must not appear.
pub const PASSWORD: &str = "hush-hush-4711";
