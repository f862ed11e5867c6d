//! The limits above which `health` warns.

use std::time::Duration;

/// The limits above which `health` warns, evaluated over the last minute unless noted otherwise.
///
/// ```
/// use poolscope::Settings;
///
/// let mut settings = Settings::new("sqlite://app.db");
/// settings.thresholds.utilization_pct = 90.0;
/// ```
#[non_exhaustive]
#[derive(Debug, Clone, PartialEq)]
pub struct Thresholds {
    /// Connections checked out, as a share of pool size plus overflow, in percent, 0 to 100.
    /// 80 by default.
    pub utilization_pct: f64,

    /// Overflow in use, as a share of `max_overflow`, in percent, 0 to 100. 80 by default.
    pub overflow_pct: f64,

    /// Checkouts timed out per minute. 1 by default.
    pub timeouts_per_minute: f64,

    /// Sessions currently idle in a transaction, as counted by the server. 5 by default.
    pub idle_in_transaction: u32,

    /// Average wait for a connection. 50 ms by default.
    pub average_wait: Duration,

    /// Duration of the longest query now running. 30 s by default.
    pub longest_query: Duration,
}

impl Default for Thresholds {
    fn default() -> Self {
        Self {
            utilization_pct: 80.0,
            overflow_pct: 80.0,
            timeouts_per_minute: 1.0,
            idle_in_transaction: 5,
            average_wait: Duration::from_millis(50),
            longest_query: Duration::from_secs(30),
        }
    }
}
