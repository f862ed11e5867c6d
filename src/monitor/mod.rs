//! The routes: the reports as a tower `Service` for any hyper-based app.
//!
//! | route | what |
//! |---|---|
//! | `GET status` | the pool's own view, no I/O |
//! | `GET health` | everything, with warnings and recommendations; 503 when the pool can't serve. To a scraper of metrics: the metrics |
//! | `GET connections` | the server's side; 503 when too many sessions idle in a transaction |
//! | `GET optimize` | which size the load needs, what waiting to expect, and why; 400 for a parameter that is not allowed |
//! | `GET healthcheck` | `{"status":"ok"}`, or 503 with the reason, within 800 ms |
//! | `GET metrics` | the metrics, for Prometheus |
//!
//! The routes name source lines, hosts and the database's errors: mount them where only your own
//! people and machines can reach them, and ask for a token besides. `access.rs` says who is shown
//! what.

mod accept;
mod access;
mod answer;
mod prometheus;
mod route;
mod service;

pub use self::service::Monitor;
