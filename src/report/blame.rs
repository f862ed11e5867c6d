//! Whose holds make checkouts queue.

use std::collections::HashMap;

use serde::Serialize;

use super::timings::{percent, round};
use crate::error::MostBlamed;
use crate::record::blame::Owed;
use crate::record::blamed::Owing;
use crate::record::debt::{Debt, Over};
use crate::record::recorder::Recorder;
use crate::record::usage::Site;

/// The number of call sites of a window, and of pairs.
const SITES: usize = 5;
const PAIRS: usize = 10;

/// Whose holds make checkouts queue. While P checkouts queue and N connections are out, each of the N owes
/// P/N of the time that passes, so all holds together owe the time queued. Time spent connecting or pinging
/// is nobody's.
#[non_exhaustive]
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct BlameReport {
    /// The last minute.
    pub last_1m: BlameWindow,
    /// The last five minutes.
    pub last_5m: BlameWindow,
    /// The time since the pool was created.
    pub since_start: BlameWindow,
    /// What holds owe to waits that were slow or timed out, by the route that waited and the call site that
    /// held, within the last five minutes; at most ten.
    pub pairs: Vec<BlamedPair>,
}

/// The time queued within a window, and who owes it.
#[non_exhaustive]
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct BlameWindow {
    /// The time that all checkouts have queued, in seconds.
    pub queued_seconds: f64,
    /// The part of it while no connection was out, or the pool was suspended, in seconds. No hold owes it.
    pub unattributed_seconds: f64,
    /// The call sites whose holds owe most, at most five.
    pub call_sites: Vec<BlamedSite>,
}

/// What the holds of one call site owe.
#[non_exhaustive]
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct BlamedSite {
    /// The source line that checks out the connections: `src/report.rs:33`. `_HIDDEN` if the routes may not
    /// show source lines.
    pub caller: String,
    /// The label of the checkouts, if they have one.
    pub label: Option<&'static str>,
    /// The route of the requests; `null` outside of a [`RequestLayer`](crate::RequestLayer).
    pub route: Option<String>,
    /// The time owed, in seconds.
    pub blamed_seconds: f64,
    /// The part of it owed while the database did nothing for these holds, in seconds: in proportion to the
    /// time that each hold was idle. `null` if that is not measured.
    pub avoidable_seconds: Option<f64>,
    /// The time owed, in percent of the time that all checkouts have queued.
    pub share_pct: f64,
}

/// What the holds of a call site owe to the waits of a route.
#[non_exhaustive]
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct BlamedPair {
    /// The route that waited; `null` outside of a [`RequestLayer`](crate::RequestLayer).
    pub waiting_route: Option<String>,
    /// The source line of the holds; `_HIDDEN` if the routes may not show source lines.
    pub caller: String,
    /// The label of the holds, if they have one.
    pub label: Option<&'static str>,
    /// The route of the holds.
    pub route: Option<String>,
    /// The time owed, in seconds.
    pub seconds: f64,
}

impl BlameReport {
    pub(crate) fn read(recorder: &Recorder, source_lines: bool) -> Self {
        let windows = [Over::Minute, Over::FiveMinutes, Over::Life];
        let [minute, five_minutes, life] = recorder.owing(windows);
        let window = |owing: &Owing| BlameWindow::of(owing, source_lines);
        Self {
            last_1m: window(&minute),
            last_5m: window(&five_minutes),
            since_start: window(&life),
            pairs: BlamedPair::read(five_minutes.pairs, source_lines),
        }
    }

    /// Returns who is to blame most within the last minute: `61 % of the waiting was behind /report at
    /// src/report.rs:33, 48 % of it while its connection was idle`. `None` if nobody queued.
    pub(super) fn sentence(&self) -> Option<String> {
        let most = self.last_1m.call_sites.first()?;
        let blamed = MostBlamed {
            call_site: most.site().name(),
            share: most.share_pct / 100.0,
            idle_share: most.avoidable_seconds.map(|it| it / most.blamed_seconds),
        };
        Some(format!("in the last minute {blamed}"))
    }
}

impl BlameWindow {
    fn of(owing: &Owing, source_lines: bool) -> Self {
        let queued = owing.queued().seconds();
        let mut sites: HashMap<Site, Debt> = HashMap::new();
        for (site, debt) in &owing.sites {
            *sites.entry(site.clone().shown(source_lines)).or_default() += *debt;
        }
        let owing_something = sites.into_iter().filter(|(_, debt)| debt.owed > Owed::ZERO);
        let mut call_sites: Vec<_> = owing_something
            .map(|(site, debt)| BlamedSite::of(&site, &debt, queued))
            .collect();
        call_sites.sort_by(|a, b| {
            let name = |it: &BlamedSite| (it.route.clone(), it.caller.clone(), it.label);
            let most = b.blamed_seconds.total_cmp(&a.blamed_seconds);
            most.then_with(|| name(a).cmp(&name(b)))
        });
        call_sites.truncate(SITES);
        Self {
            queued_seconds: precise(queued),
            unattributed_seconds: precise(owing.nobodys.seconds()),
            call_sites,
        }
    }
}

impl BlamedSite {
    fn of(site: &Site, debt: &Debt, queued: f64) -> Self {
        let owed = debt.owed.seconds();
        Self {
            caller: site.caller.to_string(),
            label: site.label,
            route: site.route.as_deref().map(str::to_owned),
            blamed_seconds: precise(owed),
            // What is not measured is taken to be like the rest.
            avoidable_seconds: debt.idle_share().map(|share| precise(owed * share)),
            share_pct: percent(owed / queued),
        }
    }

    fn site(&self) -> Site {
        Site {
            caller: self.caller.as_str().into(),
            label: self.label,
            route: self.route.as_deref().map(Into::into),
        }
    }
}

impl BlamedPair {
    fn read(pairs: HashMap<(Site, Site), Owed>, source_lines: bool) -> Vec<Self> {
        let mut merged: HashMap<_, Owed> = HashMap::new();
        for ((waiting, holding), owed) in pairs {
            let pair = (waiting.route, holding.shown(source_lines));
            *merged.entry(pair).or_default() += owed;
        }
        let mut merged: Vec<_> = merged.into_iter().collect();
        merged.sort_by(|(a, a_owed), (b, b_owed)| b_owed.cmp(a_owed).then_with(|| a.cmp(b)));
        let most = merged.into_iter().take(PAIRS);
        most.map(|((waiting, site), owed)| Self {
            waiting_route: waiting.as_deref().map(str::to_owned),
            caller: site.caller.to_string(),
            label: site.label,
            route: site.route.as_deref().map(str::to_owned),
            seconds: precise(owed.seconds()),
        })
        .collect()
    }
}

/// Rounds to microseconds, because many short waits are as bad as a long one.
fn precise(seconds: f64) -> f64 {
    round(seconds, 6)
}
