//! Computes a recommendation from the models and the findings, without I/O.

use std::collections::HashMap;

use super::bottleneck::{Bottleneck, BottleneckKind};
use super::evidence::{CurvePoint, Evidence, EvidenceWindow, EvidenceWindows, ReplayedRecord};
use super::halved::{BlamedPlaces, HalvedHolds};
use super::learned::{Learned, Measured};
use super::model::{NotEnoughData, Recorded};
use super::predicted::{PredictedWait, finite};
use super::score::Accuracy;
use super::sizes::{Case, Demand, SizeChange, Sizing, sizing};
use super::{CurrentUsage, Optimization, WhatIf, sentences};
use crate::record::inventory::Counts;
use crate::report::Configuration;
use crate::report::StatementShare;
use crate::report::call_sites::CallSite;
use crate::report::fleet::Fleet;
use crate::report::timings::round;

/// The request for advice, and the pool's size.
#[derive(Debug, Clone, Copy)]
pub(super) struct Asking {
    pub(super) what_if: WhatIf,
    /// In seconds.
    pub(super) target: f64,
    pub(super) headroom_pct: f64,
    /// Whether the pool has an overflow setting.
    pub(super) overflows: bool,
    pub(super) counts: Counts,
}

impl Asking {
    /// Returns the factor by which to multiply the measured arrivals.
    pub(super) fn times(&self) -> f64 {
        self.what_if.rate.unwrap_or(1.0) * (1.0 + self.headroom_pct / 100.0)
    }
}

/// The findings in addition to the loads.
#[derive(Debug, Clone)]
pub(super) struct Findings {
    pub(super) fleet: Option<Fleet>,
    pub(super) server_can_grant: Option<u32>,
    pub(super) call_sites: Vec<CallSite>,
    /// The call site whose holds owe most.
    pub(super) most_blamed: Option<BlamedPlaces>,
    /// The names of call sites, by their numbers in the record.
    pub(super) places: HashMap<u16, String>,
    pub(super) statements: Vec<StatementShare>,
    pub(super) accuracy: Option<Accuracy>,
    /// Why the server could not be queried.
    pub(super) unreachable: Option<String>,
}

/// A recommended size, and what it is derived from.
pub(super) struct Recommendation<'a> {
    pub(super) asking: &'a Asking,
    pub(super) found: &'a Findings,
    pub(super) measured: &'a Measured,
    /// The window of `peak`: `busiest` or `recent`.
    pub(super) window: &'static str,
    /// The largest load to plan for, and the record that it is learned from.
    pub(super) peak: Demand<'a>,
    pub(super) recorded: Recorded,
    /// The load of the last minute.
    pub(super) now: Demand<'a>,
    pub(super) bottleneck: Bottleneck,
    pub(super) sizing: Sizing,
    /// The effect of shorter holds, and of more connections.
    pub(super) halved: Option<HalvedHolds>,
    /// The measured p95 wait, in seconds, if the size in force is kept for it: it was within the
    /// target, and no size is predicted to be.
    pub(super) kept_for: Option<f64>,
}

impl<'a> Recommendation<'a> {
    fn new(
        asking: &'a Asking,
        found: &'a Findings,
        learned: &'a Learned,
    ) -> Result<Self, NotEnoughData> {
        let (window, peak) = learned.peak()?;
        let usual = learned.recent.as_deref().unwrap_or(peak);
        let at_rate = |rate: f64, times: f64| Demand {
            forecast: usual,
            times: times * rate / usual.recorded().rate,
        };
        let (counts, measured, recorded) = (asking.counts, &learned.measured, peak.recorded());
        let peak = Demand {
            forecast: peak,
            times: asking.times(),
        };
        let bottleneck = peak.forecast.bottleneck(&found.places);
        let is_met = recorded.connections == counts.max_connections()
            && recorded.queued_p95 <= asking.target;
        let sizing = sizing(&Case {
            peak,
            usual: at_rate(measured.hour.rate(), asking.times()),
            target: asking.target,
            saturates_at: bottleneck.saturates_at,
            share: found.fleet.as_ref().map(|fleet| fleet.share),
            is_served: is_met,
            known: (bottleneck.kind == BottleneckKind::Unknown).then(|| recorded.near()),
            now: (counts.pool_size, counts.max_overflow),
            overflows: asking.overflows,
        });
        let halved = found.most_blamed.as_ref().and_then(|blamed| {
            let recent = Demand {
                forecast: usual,
                times: asking.what_if.rate.unwrap_or(1.0),
            };
            HalvedHolds::predict(blamed, recent, counts.max_connections(), sizing.total())
        });
        let is_kept = is_met && sizing.need.is_none() && sizing.verdict == SizeChange::Stays;
        Ok(Self {
            asking,
            found,
            measured,
            window,
            peak,
            recorded,
            now: at_rate(measured.minute.rate(), 1.0),
            bottleneck,
            sizing,
            halved,
            kept_for: is_kept.then_some(recorded.queued_p95),
        })
    }

    /// Adds the recommendation and the predictions behind it to the advice.
    fn add_to(self, advice: &mut Optimization) {
        let (sizing, asking) = (self.sizing, self.asking);
        let row = |size: u32| PredictedWait::new(&self.peak.at(size), asking.target);
        let asked = asking.what_if.pool_size;
        let in_force = Some(asking.counts.max_connections());
        let more = [in_force, sizing.need, asked].into_iter().flatten();
        let evidence = &mut advice.evidence;
        evidence.learned_from = Some(self.window);
        evidence.replayed = Some(ReplayedRecord::read(&self));
        evidence.planned_arrivals_per_second = finite(self.recorded.rate * asking.times(), 3);
        evidence.clients = self.recorded.clients.map(|clients| clients.number);
        let most = sizing.total().max(self.recorded.connections);
        evidence.curve = CurvePoint::curve(self.peak.forecast, most);
        advice.recommended_pool_size = Some(sizing.pool_size);
        advice.recommended_max_overflow = Some(sizing.max_overflow);
        advice.paste = sizing.changes().then(|| self.settings());
        advice.recommendations = self.sentences();
        advice.predicted = PredictedWait::table(sizing.total(), more)
            .map(row)
            .collect();
        advice.asked = asked.map(row);
        advice.halved = self.halved;
        advice.bottleneck = Some(self.bottleneck);
    }
}

/// Computes the advice from the findings.
pub(super) fn advise(
    configuration: Configuration,
    asking: &Asking,
    learned: &Learned,
    found: Findings,
) -> Optimization {
    let (counts, measured) = (asking.counts, &learned.measured);
    let in_use = f64::from(counts.checked_out()) * 100.0;
    let mut advice = Optimization {
        current_settings: configuration,
        current_usage: CurrentUsage {
            total_connections: counts.open,
            active_connections: counts.checked_out(),
            idle_connections: counts.idle,
            pool_utilization_pct: round(in_use / f64::from(counts.max_connections().max(1)), 1),
        },
        recommended_pool_size: None,
        recommended_max_overflow: None,
        paste: None,
        recommendations: Vec::new(),
        what_if: asking.what_if,
        target_p95_ms: round(asking.target * 1e3, 3),
        predicted: Vec::new(),
        asked: None,
        halved: None,
        bottleneck: None,
        fleet: None,
        call_sites: Vec::new(),
        statements: Vec::new(),
        evidence: Evidence {
            windows: EvidenceWindows {
                last_1m: EvidenceWindow::read(&measured.minute),
                last_5m: EvidenceWindow::read(&measured.five_minutes),
                last_1h: EvidenceWindow::read(&measured.hour),
            },
            learned_from: None,
            replayed: None,
            planned_arrivals_per_second: None,
            headroom_pct: asking.headroom_pct,
            clients: None,
            curve: Vec::new(),
            server_can_grant: found.server_can_grant,
        },
        accuracy: found.accuracy,
        not_enough_data: None,
    };
    match Recommendation::new(asking, &found, learned) {
        Ok(recommendation) => recommendation.add_to(&mut advice),
        Err(missing) => {
            let why = sentences::not_enough(missing, &measured.hour);
            advice.recommendations.push(why);
            advice.not_enough_data = Some(missing);
        }
    }
    let unreachable = found.unreachable.map(|why| {
        format!("The server could not be queried, so its limits are not considered: {why}.")
    });
    let inaccurate = found.accuracy.and_then(|accuracy| accuracy.verdict());
    advice
        .recommendations
        .extend(unreachable.into_iter().chain(inaccurate));
    Optimization {
        fleet: found.fleet,
        call_sites: found.call_sites,
        statements: found.statements,
        ..advice
    }
}
