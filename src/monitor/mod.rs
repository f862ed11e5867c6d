//! The monitoring routes: serves the reports as a tower `Service` in any hyper-based app.
//!
//! | route | answer |
//! |---|---|
//! | `GET /` | the live page for a browser, and otherwise a list of the reports |
//! | `GET status` | the pool's own view, without I/O |
//! | `GET health` | the full report with warnings and recommendations; 503 when the pool cannot serve. A metrics scraper gets the metrics instead |
//! | `GET connections` | the database server's view; 503 when too many sessions idle in a transaction |
//! | `GET optimize` | the pool size that the load needs, the expected waits, and why; 400 for an invalid parameter |
//! | `GET healthcheck` | `{"status":"ok"}`, or 503 with the reason, within 800 ms |
//! | `GET live` | what the page shows, without a query to the database |
//! | `GET metrics` | the metrics, for Prometheus |
//!
//! The routes show source lines, host names and the database's error messages. Mount them where only
//! operators and internal systems can reach them, and require a token as well. `access.rs` decides which
//! requests may see the reports.

mod accept;
mod access;
mod page;
mod response;
mod route;
mod service;
mod snapshots;

pub use self::service::Monitor;
