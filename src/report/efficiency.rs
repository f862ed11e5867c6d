//! Hold efficiency: the part of the hold time in which the database is at work.

use serde::Serialize;

use super::timings::{millis, round};
use super::warnings::Finding;
use crate::record::recorder::Recorder;
use crate::record::usage::{HIDDEN, Site, Use, without_callers};

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
    pub worst: Vec<CallSiteEfficiency>,
}

/// How efficiently one call site uses the connections that it checks out.
#[non_exhaustive]
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct CallSiteEfficiency {
    /// The source line that checks out the connections: `src/orders.rs:41`. `_HIDDEN` if the routes
    /// may not show source lines; call sites then differ by label and route only.
    pub caller: String,
    /// The label of the checkouts, if they have one.
    pub label: Option<&'static str>,
    /// The route of the requests that the call site serves.
    pub route: Option<String>,
    /// Number of connections checked out and returned.
    pub checkouts: u64,
    /// Mean hold time, in milliseconds.
    pub mean_held_ms: f64,
    /// Mean time per hold in which the database was at work, in milliseconds.
    pub mean_busy_ms: f64,
    /// `mean_busy_ms` in percent of `mean_held_ms`.
    pub efficiency_pct: f64,
    /// The call site's share of the total hold time, in percent.
    pub share_of_held_pct: f64,
}

impl HoldEfficiency {
    /// Reads the hold times of the last five minutes.
    pub(super) fn read(recorder: &Recorder, source_lines: bool) -> Self {
        let places = recorder.usage();
        let places = match source_lines {
            true => places,
            false => without_callers(places),
        };
        let recent = places.iter().map(|(site, used)| (site, &used.recent));
        let mut all = Use::default();
        recent.clone().for_each(|(_, used)| all.add(used));
        let mut worst: Vec<_> = recent
            .filter_map(|(site, used)| place(site, used, &all))
            .collect();
        let wasted = |place: &CallSiteEfficiency| {
            (place.mean_held_ms - place.mean_busy_ms) * place.checkouts as f64
        };
        worst.sort_by(|a, b| {
            wasted(b)
                .total_cmp(&wasted(a))
                .then(a.caller.cmp(&b.caller))
        });
        worst.truncate(NAMED);
        Self {
            pct: all.efficiency().map(percent),
            worst,
        }
    }

    /// Returns a warning about the worst call site, if the pool is busy and the waste is significant.
    pub(super) fn finding(&self, busy_pool: bool) -> Option<Finding> {
        let worst = self.worst.first().filter(|_| busy_pool)?;
        let wasted = worst.mean_held_ms - worst.mean_busy_ms;
        let share = worst.share_of_held_pct / 100.0 * (wasted / worst.mean_held_ms);
        let matters = worst.efficiency_pct < EFFICIENCY * 100.0
            && share >= SHARE
            && wasted >= WASTED_MS
            && wasted * worst.checkouts as f64 >= WASTED_IN_ALL_MS;
        if !matters {
            return None;
        }
        Some(Finding {
            warning: format!(
                "low hold efficiency: {} holds a connection for {:.0} ms on average, but queries for only {:.0} ms ({} checkouts within the last 5 minutes, {:.0} % of the total hold time)",
                worst.name(),
                worst.mean_held_ms,
                worst.mean_busy_ms,
                worst.checkouts,
                worst.share_of_held_pct,
            ),
            recommendation: format!(
                "Do work that needs no database before the checkout or after the drop: the same connections could then serve up to {:.1} times as many checkouts of this call site.",
                (worst.mean_held_ms / worst.mean_busy_ms.max(0.1)).min(1000.0),
            ),
        })
    }
}

impl CallSiteEfficiency {
    /// Returns `/orders at src/orders.rs:41 (label)`, without the unknown parts.
    fn name(&self) -> String {
        if self.caller == HIDDEN {
            let known = [self.route.as_deref(), self.label];
            let known: Vec<_> = known.into_iter().flatten().collect();
            return match known.is_empty() {
                true => "a call site without label and route".to_owned(),
                false => known.join(" as "),
            };
        }
        let route = self.route.as_ref();
        let route = route
            .map(|route| format!("{route} at "))
            .unwrap_or_default();
        let label = self.label.map(|label| format!(" ({label})"));
        format!("{route}{}{}", self.caller, label.unwrap_or_default())
    }
}

fn place(site: &Site, used: &Use, all: &Use) -> Option<CallSiteEfficiency> {
    let efficiency = used.efficiency()?;
    let held = millis(used.held) / used.checkouts.max(1) as f64;
    Some(CallSiteEfficiency {
        caller: site.caller.to_string(),
        label: site.label,
        route: site.route.as_deref().map(str::to_owned),
        checkouts: used.checkouts,
        mean_held_ms: round(held, 3),
        mean_busy_ms: round(held * efficiency, 3),
        efficiency_pct: percent(efficiency),
        share_of_held_pct: percent(used.held.as_secs_f64() / all.held.as_secs_f64().max(1e-9)),
    })
}

fn percent(share: f64) -> f64 {
    round(share * 100.0, 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn efficiency(mean_held_ms: f64, mean_busy_ms: f64, share: f64) -> HoldEfficiency {
        HoldEfficiency {
            pct: None,
            worst: vec![CallSiteEfficiency {
                caller: "src/orders.rs:41".to_owned(),
                label: None,
                route: Some("/orders".to_owned()),
                checkouts: 70,
                mean_held_ms,
                mean_busy_ms,
                efficiency_pct: mean_busy_ms / mean_held_ms * 100.0,
                share_of_held_pct: share,
            }],
        }
    }

    #[test]
    fn the_worst_call_site_is_reported_if_significant() {
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
