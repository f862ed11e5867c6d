//! Who uses the connection time: shorter holds are the cheaper half of every advice.

use std::collections::HashMap;

use serde::Serialize;

use crate::observe::recorder::Recorder;
use crate::observe::usage::{HIDDEN, Use, without_callers};
use crate::report::timings::{millis, round, seconds};

/// How many a report names.
pub(super) const NAMED: usize = 10;

/// What one place has used within the last five minutes.
#[non_exhaustive]
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct RouteShare {
    /// The route of the requests it serves; `null` outside of a [`RequestLayer`](crate::RequestLayer).
    pub route: Option<String>,
    /// The source line that takes the connections: `src/orders.rs:41`. `_HIDDEN` where the routes
    /// may not tell: places are then told apart by label and route alone.
    pub caller: String,
    /// Its label, when it gives one.
    pub label: Option<&'static str>,
    /// Its part of all the time that connections were held, in percent.
    pub share_pct: f64,
    /// Time held, in seconds.
    pub held_seconds: f64,
    /// Connections taken and given back.
    pub checkouts: u64,
    /// How long it held one on average, in milliseconds.
    pub mean_ms: f64,
}

impl RouteShare {
    /// The places that used most within the last five minutes, at most ten, the first the most.
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
                share_pct: share(used.recent.held.as_secs_f64(), all.held.as_secs_f64()),
                held_seconds: seconds(used.recent.held),
                checkouts: used.recent.checkouts,
                mean_ms: round(millis(used.recent.held) / used.recent.checkouts as f64, 3),
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

/// The names of all places, by their numbers in the record.
pub(super) fn places(recorder: &Recorder, source_lines: bool) -> HashMap<u16, String> {
    let named = recorder.places().into_iter().map(|(number, site)| {
        let caller = if source_lines { &*site.caller } else { HIDDEN };
        (number, name(site.route.as_deref(), caller, site.label))
    });
    named.collect()
}

/// `/orders at src/orders.rs:41 (label)`, as far as it may be shown.
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

/// One of the other in percent; 0 of nothing.
pub(super) fn share(part: f64, all: f64) -> f64 {
    if all > 0.0 {
        round(part / all * 100.0, 1)
    } else {
        0.0
    }
}
