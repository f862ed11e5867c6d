//! The use of connections by call site.

use std::collections::HashMap;

use serde::Serialize;

use super::timings::{percent, round};
use crate::record::clock::seconds;
use crate::record::recorder::Recorder;
use crate::record::usage::{Site, Use, without_callers};

/// The use of connections by one call site within the last five minutes.
#[non_exhaustive]
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct CallSite {
    /// The source line that checks out the connections: `src/orders.rs:41`. `_HIDDEN` if the routes
    /// may not show source lines; call sites then differ by label and route only.
    pub caller: String,
    /// The label of the checkouts, if they have one.
    pub label: Option<&'static str>,
    /// The route of the requests; `null` outside of a [`RequestLayer`](crate::RequestLayer).
    pub route: Option<String>,
    /// Number of connections checked out and returned.
    pub checkouts: u64,
    /// Total hold time, in seconds.
    pub held_seconds: f64,
    /// Mean hold time, in milliseconds.
    pub mean_held_ms: f64,
    /// Mean time per hold in which the database was at work, in milliseconds; `null` if unknown.
    pub mean_busy_ms: Option<f64>,
    /// `mean_busy_ms` in percent of `mean_held_ms`.
    pub efficiency_pct: Option<f64>,
    /// The call site's share of the total hold time, in percent.
    pub share_of_held_pct: f64,
}

impl CallSite {
    /// Returns the call sites that returned a connection within the last five minutes, the longest
    /// total hold time first, and the sum of their use.
    pub(crate) fn read(recorder: &Recorder, source_lines: bool) -> (Vec<Self>, Use) {
        let mut sites = recorder.usage();
        if !source_lines {
            sites = without_callers(sites);
        }
        let mut all = Use::default();
        sites.values().for_each(|used| all.add(&used.recent));
        let sites = sites.into_iter().map(|(site, used)| (site, used.recent));
        let mut sites: Vec<_> = sites
            .filter(|(_, used)| used.checkouts > 0)
            .map(|(site, used)| {
                let held_seconds = seconds(used.held);
                let mean_held_ms = held_seconds * 1e3 / used.checkouts as f64;
                let efficiency = used.efficiency();
                Self {
                    caller: site.caller.to_string(),
                    label: site.label,
                    route: site.route.map(|route| route.to_string()),
                    checkouts: used.checkouts,
                    held_seconds: round(held_seconds, 3),
                    mean_held_ms: round(mean_held_ms, 3),
                    mean_busy_ms: efficiency.map(|share| round(mean_held_ms * share, 3)),
                    efficiency_pct: efficiency.map(percent),
                    share_of_held_pct: percent(held_seconds / seconds(all.held).max(1e-9)),
                }
            })
            .collect();
        sites.sort_by(|a, b| {
            let most = b.held_seconds.total_cmp(&a.held_seconds);
            let name = |site: &Self| (site.route.clone(), site.caller.clone(), site.label);
            most.then_with(|| name(a).cmp(&name(b)))
        });
        (sites, all)
    }

    /// Returns the names of all call sites, by their numbers in the record.
    pub(crate) fn names(recorder: &Recorder, source_lines: bool) -> HashMap<u16, String> {
        let places = recorder.state().usage.places();
        let named = places.into_iter();
        named
            .map(|(number, site)| (number, site.shown(source_lines).name()))
            .collect()
    }

    pub(crate) fn name(&self) -> String {
        Site {
            caller: self.caller.as_str().into(),
            label: self.label,
            route: self.route.as_deref().map(Into::into),
        }
        .name()
    }
}
