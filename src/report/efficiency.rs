//! Hold efficiency: the part of the hold time in which the database is at work.

use serde::Serialize;

use super::call_sites::CallSite;
use super::timings::percent;
use super::warnings::Finding;
use crate::record::recorder::Recorder;

/// The number of call sites in a report.
const NAMED: usize = 5;
/// A call site is reported if it wastes at least this share of the total hold time, …
const SHARE: f64 = 0.25;
/// … if the database is at work for less than this share of its holds, …
const EFFICIENCY: f64 = 0.5;
/// … if it wastes at least this many milliseconds per hold on average, …
const WASTED_MS: f64 = 10.0;
/// … and at least this many in total: less is no evidence.
const WASTED_IN_ALL_MS: f64 = 5000.0;

/// The part of the hold time of the last five minutes in which the database was at work. Exact on
/// Postgres, where it is read from the wire; elsewhere measured from the start of a query to its
/// first response.
#[non_exhaustive]
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct HoldEfficiency {
    /// The efficiency of all holds, in percent; `null` if no connection was held or it is unknown.
    pub pct: Option<f64>,
    /// The call sites that held connections longest in total without using them; at most five, the
    /// worst first.
    pub worst: Vec<CallSite>,
}

impl HoldEfficiency {
    /// Reads the hold times of the last five minutes.
    pub(super) fn read(recorder: &Recorder, source_lines: bool) -> Self {
        let (mut worst, all) = CallSite::read(recorder, source_lines);
        worst.retain(|site| site.mean_busy_ms.is_some());
        let wasted = |site: &CallSite| wasted(site).unwrap_or_default() * site.checkouts as f64;
        worst.sort_by(|a, b| wasted(b).total_cmp(&wasted(a)));
        worst.truncate(NAMED);
        Self {
            pct: all.efficiency().map(percent),
            worst,
        }
    }

    /// Returns a warning about the worst call site, if the pool is busy and the waste is significant.
    pub(super) fn finding(&self, busy_pool: bool) -> Option<Finding> {
        let worst = self.worst.first().filter(|_| busy_pool)?;
        let (wasted, busy) = (wasted(worst)?, worst.mean_busy_ms?);
        let share = worst.share_of_held_pct / 100.0 * (wasted / worst.mean_held_ms);
        let matters = worst.efficiency_pct? < EFFICIENCY * 100.0
            && share >= SHARE
            && wasted >= WASTED_MS
            && wasted * worst.checkouts as f64 >= WASTED_IN_ALL_MS;
        if !matters {
            return None;
        }
        Some(Finding::new(
            format!(
                "low hold efficiency: {} holds a connection for {:.0} ms on average, but queries for only {:.0} ms ({} checkouts within the last 5 minutes, {:.0} % of the total hold time)",
                worst.name(),
                worst.mean_held_ms,
                busy,
                worst.checkouts,
                worst.share_of_held_pct,
            ),
            format!(
                "Do work that needs no database before the checkout or after the drop: the same connections could then serve up to {:.1} times as many checkouts of this call site.",
                (worst.mean_held_ms / busy.max(0.1)).min(1000.0),
            ),
        ))
    }
}

/// Returns the mean time per hold in which the database was not at work, in milliseconds.
fn wasted(site: &CallSite) -> Option<f64> {
    Some(site.mean_held_ms - site.mean_busy_ms?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn efficiency(mean_held_ms: f64, mean_busy_ms: f64, share: f64) -> HoldEfficiency {
        HoldEfficiency {
            pct: None,
            worst: vec![CallSite {
                caller: "src/orders.rs:41".to_owned(),
                label: None,
                route: Some("/orders".to_owned()),
                checkouts: 70,
                held_seconds: 0.07 * mean_held_ms,
                mean_held_ms,
                mean_busy_ms: Some(mean_busy_ms),
                efficiency_pct: Some(mean_busy_ms / mean_held_ms * 100.0),
                share_of_held_pct: share,
            }],
        }
    }

    #[test]
    fn the_least_efficient_call_site_is_reported_if_significant() {
        let finding = efficiency(120.0, 9.0, 60.0).finding(true).unwrap();
        assert!(
            finding.warning.contains(
                "/orders at src/orders.rs:41 holds a connection for 120 ms on average, but queries for only 9 ms"
            ),
            "{}",
            finding.warning
        );
        assert!(
            finding.recommendation.contains("13.3 times"),
            "{}",
            finding.recommendation
        );
        assert_eq!(
            efficiency(120.0, 9.0, 60.0).finding(false),
            None,
            "the pool is not busy"
        );
        assert_eq!(
            efficiency(120.0, 100.0, 60.0).finding(true),
            None,
            "well used"
        );
        assert_eq!(
            efficiency(120.0, 9.0, 20.0).finding(true),
            None,
            "a small share"
        );
        assert_eq!(
            efficiency(5.0, 0.0, 100.0).finding(true),
            None,
            "short holds"
        );
    }
}
