//! What the benchmarks share: a Postgres of their own, the pools compared, and how a figure is told.
#![allow(missing_docs, reason = "nobody depends on it")]

pub mod load;
pub mod peers;
pub mod report;
pub mod statistics;
pub mod telemetry;

/// The tests' own servers: started by whoever uses them, gone with the process.
#[path = "../../tests/support"]
#[allow(dead_code, unreachable_pub, reason = "the tests use more of it")]
pub mod support {
    pub mod certificates;
    pub mod folder;
    pub mod ports;
    pub mod postgres;
    pub mod server;

    /// As the tests': what the certificates of a server are made for.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub enum Tls {
        #[default]
        None,
        Offer,
        Require,
    }

    /// As the tests': the password of every user.
    pub const PASSWORD: &str = "hush-hush-4711";
}

/// Connections of each pool compared.
pub const CONNECTIONS: u32 = 8;

/// How long and how often things are measured.
#[derive(Debug, Clone, Copy)]
pub struct Scale {
    /// A smoke run: everything once and briefly, and the figures mean nothing.
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
