//! Shared parts of the benchmarks: a Postgres server, the compared pools, and the report.
#![allow(missing_docs, reason = "nobody depends on it")]

pub mod load;
pub mod peers;
pub mod report;
pub mod statistics;
pub mod telemetry;

/// The tests' servers, which end with the process.
#[path = "../../tests/support"]
#[allow(dead_code, unreachable_pub, reason = "the tests use more of it")]
pub mod support {
    pub mod certificates;
    pub mod folder;
    pub mod ports;
    pub mod postgres;
    pub mod server;

    /// The tests' type: whether a server supports TLS.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub enum Tls {
        #[default]
        None,
        Offer,
        Require,
    }

    /// The tests' constant: the password of every user.
    pub const PASSWORD: &str = "hush-hush-4711";
}

/// Connections of each pool compared.
pub const CONNECTIONS: u32 = 8;

/// The duration and repetition of measurements.
#[derive(Debug, Clone, Copy)]
pub struct Scale {
    /// A smoke test: everything runs once and briefly, and the figures are meaningless.
    pub quick: bool,
}

impl Scale {
    pub fn pick<T>(self, usual: T, quick: T) -> T {
        if self.quick { quick } else { usual }
    }

    pub fn seconds(self, usual: f64) -> std::time::Duration {
        std::time::Duration::from_secs_f64(self.pick(usual, 0.3))
    }
}
