//! The call sites that use most connection time. Shorter holds often help more than a larger pool.

use std::collections::HashMap;

use serde::Serialize;

use crate::record::recorder::Recorder;
use crate::record::usage::{HIDDEN, Use, without_callers};
use crate::report::timings::{millis, round, seconds};

/// The number of entries in a report.
pub(super) const NAMED: usize = 10;

/// The connection time used by one call site within the last five minutes.
#[non_exhaustive]
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct CallSiteShare {
    /// The route of the requests; `null` outside of a [`RequestLayer`](crate::RequestLayer).
    pub route: Option<String>,
    /// The source line that checks out the connections: `src/orders.rs:41`. `_HIDDEN` if the routes
    /// may not show source lines; call sites then differ by label and route only.
    pub caller: String,
    /// The label of the checkouts, if they have one.
    pub label: Option<&'static str>,
    /// Share of the total hold time, in percent.
    pub share_of_held_pct: f64,
    /// Hold time, in seconds.
    pub held_seconds: f64,
    /// Number of connections checked out and returned.
    pub checkouts: u64,
    /// Mean hold time, in milliseconds.
    pub mean_held_ms: f64,
}

impl CallSiteShare {
    /// Returns the call sites that used most connection time within the last five minutes, in
    /// descending order, at most ten.
    pub(super) fn read(recorder: &Recorder, source_lines: bool) -> Vec<Self> {
        let places = recorder.usage();
        let places = match source_lines {
            true => places,
            false => without_callers(places),
        };
        let mut all = Use::default();
        places.values().for_each(|used| all.add(&used.recent));
        let used = places
            .into_iter()
            .filter(|(_, used)| used.recent.checkouts > 0);
        let mut shares: Vec<_> = used
            .map(|(site, used)| Self {
                route: site.route.map(|route| route.to_string()),
                caller: site.caller.to_string(),
                label: site.label,
                share_of_held_pct: share(used.recent.held.as_secs_f64(), all.held.as_secs_f64()),
                held_seconds: seconds(used.recent.held),
                checkouts: used.recent.checkouts,
                mean_held_ms: round(millis(used.recent.held) / used.recent.checkouts as f64, 3),
            })
            .collect();
        shares.sort_by(|a, b| {
            let most = b.held_seconds.total_cmp(&a.held_seconds);
            let name = |share: &Self| (share.route.clone(), share.caller.clone(), share.label);
            most.then_with(|| name(a).cmp(&name(b)))
        });
        shares.truncate(NAMED);
        shares
    }

    pub(super) fn name(&self) -> String {
        name(self.route.as_deref(), &self.caller, self.label)
    }
}

/// Returns the names of all call sites, by their numbers in the record.
pub(super) fn places(recorder: &Recorder, source_lines: bool) -> HashMap<u16, String> {
    let named = recorder.places().into_iter().map(|(number, site)| {
        let caller = if source_lines { &*site.caller } else { HIDDEN };
        (number, name(site.route.as_deref(), caller, site.label))
    });
    named.collect()
}

/// Returns `/orders at src/orders.rs:41 (label)`, without the parts that are unknown or hidden.
fn name(route: Option<&str>, caller: &str, label: Option<&str>) -> String {
    if caller == HIDDEN {
        return match (route, label) {
            (Some(route), Some(label)) => format!("{route} ({label})"),
            (Some(only), None) | (None, Some(only)) => only.to_owned(),
            (None, None) => "call sites without label and route".to_owned(),
        };
    }
    let route = route
        .map(|route| format!("{route} at "))
        .unwrap_or_default();
    let label = label.map(|label| format!(" ({label})"));
    format!("{route}{caller}{}", label.unwrap_or_default())
}

/// Returns `part` in percent of `all`; 0 if `all` is 0.
pub(super) fn share(part: f64, all: f64) -> f64 {
    if all > 0.0 {
        round(part / all * 100.0, 1)
    } else {
        0.0
    }
}
