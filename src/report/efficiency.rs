//! Hold efficiency: of the time that connections are held, the part in which the database works.

use serde::Serialize;

use super::judge::Finding;
use super::timings::{millis, round};
use crate::observe::recorder::Recorder;
use crate::observe::usage::{HIDDEN, Site, Use, without_callers};

/// How many places a report names.
const NAMED: usize = 5;
/// A place is worth a warning if it wastes this share of all the time held, …
const SHARE: f64 = 0.25;
/// … with less than this part of its holds at work, …
const EFFICIENCY: f64 = 0.5;
/// … on average for more than this many milliseconds a hold, …
const WASTED_MS: f64 = 10.0;
/// … and this many in all: less is no evidence.
const WASTED_IN_ALL_MS: f64 = 5000.0;

/// Of the time that connections were held within the last five minutes, the part in which the
/// database was at work: exact on Postgres, from its wire; elsewhere from the start of a query to
/// its first response.
#[non_exhaustive]
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct HoldEfficiency {
    /// Of all holds, in percent; `null` while nothing was held, or where it can't be known.
    pub pct: Option<f64>,
    /// Who held connections longest without using them, in sum; at most five, the worst first.
    pub worst: Vec<PlaceEfficiency>,
}

/// How one place uses the connections it takes.
#[non_exhaustive]
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct PlaceEfficiency {
    /// The source line that takes them: `src/orders.rs:41`. `_HIDDEN` where the routes may not tell:
    /// places are then told apart by label and route alone.
    pub caller: String,
    /// Its label, when it gives one.
    pub label: Option<&'static str>,
    /// The route of the requests it serves.
    pub route: Option<String>,
    /// Connections taken and given back.
    pub checkouts: u64,
    /// How long it held one on average, in milliseconds.
    pub mean_held_ms: f64,
    /// Of that, how long the database was at work.
    pub mean_busy_ms: f64,
    /// The one in percent of the other.
    pub efficiency_pct: f64,
    /// Its part of all time held, in percent.
    pub share_of_held_pct: f64,
}

impl HoldEfficiency {
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
        let wasted = |place: &PlaceEfficiency| {
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

    /// What to say of the worst, when people wait for what it does not use.
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
                "low hold efficiency: {} holds a connection {:.0} ms to query for {:.0} ms ({} checkouts within the last 5 minutes, {:.0} % of all time held)",
                worst.name(),
                worst.mean_held_ms,
                worst.mean_busy_ms,
                worst.checkouts,
                worst.share_of_held_pct,
            ),
            recommendation: format!(
                "Do what needs no database before the checkout or after the drop: without it the same connections would serve up to {:.1} times as many checkouts of that place.",
                (worst.mean_held_ms / worst.mean_busy_ms.max(0.1)).min(1000.0),
            ),
        })
    }
}

impl PlaceEfficiency {
    /// `GET /orders at src/orders.rs:41 (label)`, as far as it is known.
    fn name(&self) -> String {
        if self.caller == HIDDEN {
            let known = [self.route.as_deref(), self.label];
            let known: Vec<_> = known.into_iter().flatten().collect();
            return match known.is_empty() {
                true => "a place without label and route".to_owned(),
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

fn place(site: &Site, used: &Use, all: &Use) -> Option<PlaceEfficiency> {
    let efficiency = used.efficiency()?;
    let held = millis(used.held) / used.checkouts.max(1) as f64;
    Some(PlaceEfficiency {
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
            worst: vec![PlaceEfficiency {
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
    fn the_worst_is_named_when_it_matters() {
        let told = efficiency(120.0, 9.0, 60.0).finding(true).unwrap();
        assert!(
            told.warning.contains(
                "/orders at src/orders.rs:41 holds a connection 120 ms to query for 9 ms"
            ),
            "{}",
            told.warning
        );
        assert!(
            told.recommendation.contains("13.3 times"),
            "{}",
            told.recommendation
        );
        assert_eq!(
            efficiency(120.0, 9.0, 60.0).finding(false),
            None,
            "nobody waits"
        );
        assert_eq!(
            efficiency(120.0, 100.0, 60.0).finding(true),
            None,
            "well used"
        );
        assert_eq!(
            efficiency(120.0, 9.0, 20.0).finding(true),
            None,
            "a small part"
        );
        assert_eq!(
            efficiency(5.0, 0.0, 100.0).finding(true),
            None,
            "short holds"
        );
    }
}
