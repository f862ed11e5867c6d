//! `optimize`: which size the load needs, what waiting to expect of it and of others, and why.
//!
//! ```text
//! history ─▶ model/      ─▶ learned.rs ─▶ sizes.rs ─▶ sentences.rs, causes.rs
//! recorded    replays it     of which load  the rules    what to do, with its figures, and why no
//! checkouts                                              other size
//! ```

pub(crate) mod advisor;
mod bottleneck;
mod causes;
#[cfg(test)]
mod erlang;
mod evidence;
mod learned;
pub(crate) mod model;
mod predicted;
pub(crate) mod score;
mod sentences;
mod shares;
mod sizes;
mod statements;
#[cfg(test)]
mod tests;
mod what_if;

use std::collections::HashMap;

use serde::Serialize;

pub use self::bottleneck::{Bottleneck, BottleneckKind, Contention};
pub use self::evidence::{CurvePoint, Evidence, EvidenceWindow, EvidenceWindows, ReplayedRecord};
pub use self::predicted::PredictedWait;
pub use self::score::{Accuracy, Comparison};
pub use self::shares::RouteShare;
pub use self::statements::StatementShare;
pub use self::what_if::{WhatIf, WhatIfError};

use self::learned::{Learned, Models};
use self::predicted::finite;
use self::sentences::Said;
use self::sizes::{Sizing, sizing};
use crate::backend::{Activity, Lane};
use crate::inventory::Counts;
use crate::observe::Observe;
use crate::observe::statements::OTHER;
use crate::report::connections::count;
use crate::report::fleet::{Fleet, Own};
use crate::report::grant::grant;
use crate::report::timings::round;
use crate::report::{Configuration, Source, SourceFacts};

/// What to set, and why. The seed system's `optimize_pool_settings`.
///
/// All that is predicted is the wait in the pool's queue, for the load of
/// [`Evidence::planned_arrivals_per_second`].
#[non_exhaustive]
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Optimization {
    /// The settings in force.
    pub current_settings: Configuration,
    /// The pool at this instant.
    pub current_usage: CurrentUsage,
    /// The connections that the usual load needs; `null` without enough data.
    pub recommended_pool_size: Option<u32>,
    /// Those that the peak needs beyond that; `null` without enough data.
    pub recommended_max_overflow: Option<u32>,
    /// What to set, to be pasted: `DB_POOL_SIZE=14 DB_MAX_OVERFLOW=4`; `null` where nothing is to
    /// be changed, also if what is set is not exactly what is recommended but close to it.
    pub paste: Option<String>,
    /// What to do, in sentences.
    pub recommendations: Vec<String>,
    /// What was asked for, beside what was measured.
    pub what_if: WhatIf,
    /// The wait in the queue, in milliseconds, that 95 of 100 checkouts should stay below.
    pub target_p95_ms: f64,
    /// The waiting at the sizes around the recommended one, and at the one in force; empty without
    /// enough data.
    pub predicted: Vec<PredictedWait>,
    /// The waiting at the size that was asked for.
    pub asked: Option<PredictedWait>,
    /// What keeps more connections from serving more; `null` without enough data.
    pub bottleneck: Option<Bottleneck>,
    /// Who else uses the server; `null` where it has no limit or could not be asked.
    pub fleet: Option<Fleet>,
    /// The places that used most connection time within the last five minutes, at most ten.
    pub routes: Vec<RouteShare>,
    /// The statements that took most time within the last five minutes, at most ten.
    pub statements: Vec<StatementShare>,
    /// What the recommendation rests on.
    pub evidence: Evidence,
    /// How good earlier predictions were; `null` before one was compared with what came.
    pub accuracy: Option<Accuracy>,
    /// What is missing, where nothing can be recommended yet.
    pub not_enough_data: Option<NotEnoughData>,
}

/// The pool at this instant, in the seed system's words.
#[non_exhaustive]
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct CurrentUsage {
    /// Open connections.
    pub total_connections: u32,
    /// Connections handed out.
    pub active_connections: u32,
    /// Open connections that nobody holds.
    pub idle_connections: u32,
    /// Connections in use of all the pool may open, in percent.
    pub pool_utilization_pct: f64,
}

/// How much more is to be observed before anything can be recommended.
#[non_exhaustive]
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct NotEnoughData {
    /// Seconds.
    pub seconds_more: f64,
    /// Checkouts that come back.
    pub checkouts_more: u64,
}

impl<S: Source> Observe<S> {
    /// Which size the measured load needs, what waiting to expect, and why. It asks the server's
    /// limits over the monitoring lane, never over the pool.
    pub async fn optimize(&self) -> Optimization {
        self.optimize_by(self.get_ref().facts(), WhatIf::new())
            .await
    }

    /// The same for other circumstances than those that were measured.
    ///
    /// # Errors
    /// What is asked for is out of bounds.
    pub async fn optimize_for(&self, what_if: &WhatIf) -> Result<Optimization, WhatIfError> {
        what_if.check()?;
        Ok(self.optimize_by(self.get_ref().facts(), *what_if).await)
    }

    /// `what_if` is within its bounds.
    pub(crate) async fn optimize_by(&self, facts: SourceFacts, what_if: WhatIf) -> Optimization {
        let answer = facts.lane.activity(Lane::TIMEOUT).await;
        let activity = answer.as_deref().ok();
        let counts = self.recorder.counts();
        let own = Own {
            process_ids: facts.process_ids.as_deref(),
            open: counts.open,
        };
        let fleet = activity.and_then(|activity| {
            Fleet::read(activity, own, facts.advice.replicas, what_if.replicas)
        });
        let granted = activity.and_then(|activity| grant(activity, own.process_ids, own.open));
        let asking = Asking {
            what_if,
            target: what_if
                .target_p95_ms
                .map_or(facts.advice.target.as_secs_f64(), |millis| millis / 1e3),
            headroom_pct: facts.advice.headroom_pct,
            overflows: facts.advice.overflows,
            counts,
        };
        let found = Found {
            fleet,
            server_can_grant: granted.map(|grant| grant.available),
            routes: RouteShare::read(&self.recorder, facts.source_lines),
            places: shares::places(&self.recorder, facts.source_lines),
            statements: self.statement_shares(facts.query_text),
            accuracy: None,
            unreachable: answer.as_ref().err().map(|error| error.cause.to_string()),
        };
        let mut advice = self
            .recorder
            .advise(facts.configuration, asking, found)
            .await;
        if let Some(activity) = activity {
            let sessions = self.said_of_sessions(activity, &facts, counts);
            advice.recommendations.extend(sessions);
        }
        advice
    }

    /// By text only where the settings allow it; else by summary, which names no value either way.
    fn statement_shares(&self, query_text: bool) -> Vec<StatementShare> {
        let all = self.recorder.statements().into_iter();
        StatementShare::read(all.map(|used| {
            // Beyond the bound there is no text, and what begins with no word has no summary.
            let name = match (query_text && !used.text.is_empty(), used.summary.is_empty()) {
                (true, _) => used.text,
                (false, false) => used.summary,
                (false, true) => OTHER.to_owned(),
            };
            (name, used.recent.count, used.recent.time)
        }))
    }

    /// What the server's sessions say of how connections are used.
    fn said_of_sessions(
        &self,
        activity: &Activity,
        facts: &SourceFacts,
        counts: Counts,
    ) -> Vec<String> {
        let holders = self.holder_reports(facts);
        let tally = count(activity, facts, &holders, counts.open);
        let limits = &facts.thresholds;
        let idle = tally.idle_in_transaction;
        let idle = idle.filter(|&n| n > limits.idle_in_transaction).map(|n| {
            format!(
                "{n} sessions are idle in a transaction: each occupies a connection that does no work."
            )
        });
        let longest = tally.longest_query;
        let longest = longest
            .filter(|&seconds| seconds > limits.longest_query.as_secs_f64())
            .map(|seconds| {
                format!("A query has been running for {seconds:.1} s: shorter queries often help more than a larger pool.")
            });
        idle.into_iter().chain(longest).collect()
    }
}

/// What is asked, and of which pool.
#[derive(Debug, Clone, Copy)]
struct Asking {
    what_if: WhatIf,
    /// In seconds.
    target: f64,
    headroom_pct: f64,
    /// Whether the pool has an overflow to set.
    overflows: bool,
    counts: Counts,
}

impl Asking {
    /// So many times the measured arrivals are to be ready for.
    fn times(&self) -> f64 {
        self.what_if.rate.unwrap_or(1.0) * (1.0 + self.headroom_pct / 100.0)
    }
}

/// What was found out beside the loads.
#[derive(Debug, Clone)]
struct Found {
    fleet: Option<Fleet>,
    server_can_grant: Option<u32>,
    routes: Vec<RouteShare>,
    /// The names of places, by their numbers in the record.
    places: HashMap<u16, String>,
    statements: Vec<StatementShare>,
    accuracy: Option<Accuracy>,
    /// Why the server could not be asked.
    unreachable: Option<String>,
}

/// The advice, by what was found alone.
fn advise(
    configuration: Configuration,
    asking: &Asking,
    learned: &Learned,
    found: Found,
) -> Optimization {
    let models = learned.models();
    let missing = models.as_ref().err().map(|missing| NotEnoughData {
        seconds_more: finite(missing.seconds.ceil(), 0).unwrap_or_default(),
        checkouts_more: missing.checkouts,
    });
    let models = models.ok();
    let share = found.fleet.as_ref().map(|fleet| fleet.share);
    let sized = models.map(|models| {
        let bottleneck = models.peak.bottleneck().named(&found.places);
        (models, sizing(&models.case(asking, share)), bottleneck)
    });
    let recommendations = Said {
        asking,
        found: &found,
        measured: &learned.measured,
    }
    .sentences(sized.as_ref(), missing);
    let sizing = sized.as_ref().map(|(_, sizing, _)| *sizing);
    let (predicted, asked) = sized
        .as_ref()
        .map(|(models, sizing, _)| predictions(models, sizing, asking))
        .unwrap_or_default();
    let counts = asking.counts;
    Optimization {
        current_settings: configuration,
        current_usage: CurrentUsage {
            total_connections: counts.open,
            active_connections: counts.checked_out(),
            idle_connections: counts.idle,
            pool_utilization_pct: round(
                f64::from(counts.checked_out()) * 100.0
                    / f64::from(counts.max_connections().max(1)),
                1,
            ),
        },
        recommended_pool_size: sizing.map(|sizing| sizing.pool_size),
        recommended_max_overflow: sizing.map(|sizing| sizing.max_overflow),
        paste: sizing.and_then(|sizing| sentences::paste(&sizing, asking.overflows)),
        recommendations,
        what_if: asking.what_if,
        target_p95_ms: round(asking.target * 1e3, 3),
        predicted,
        asked,
        bottleneck: sized.map(|(_, _, bottleneck)| bottleneck),
        fleet: found.fleet,
        routes: found.routes,
        statements: found.statements,
        evidence: Evidence {
            windows: EvidenceWindows::read(&learned.measured),
            learned_from: models.map(|models| models.window),
            replayed: models.map(|models| ReplayedRecord::read(&models)),
            planned_arrivals_per_second: models
                .and_then(|models| finite(models.busiest_rate() * asking.times(), 3)),
            headroom_pct: asking.headroom_pct,
            clients: models.and_then(|models| models.peak.clients()),
            curve: models
                .zip(sizing)
                .map_or_else(Vec::new, |(models, sizing)| {
                    let most = sizing.total().max(models.peak.recorded().connections);
                    CurvePoint::curve(models.peak, most)
                }),
            server_can_grant: found.server_can_grant,
        },
        accuracy: found.accuracy,
        not_enough_data: missing,
    }
}

/// The table, and the row that was asked for.
fn predictions(
    models: &Models<'_>,
    sizing: &Sizing,
    asking: &Asking,
) -> (Vec<PredictedWait>, Option<PredictedWait>) {
    let demand = models.peak(asking);
    let asked = asking.what_if.pool_size;
    let more = [Some(asking.counts.max_connections()), sizing.need, asked];
    let more = more.into_iter().flatten();
    let table = PredictedWait::table(demand, asking.target, sizing.total(), more);
    let asked = asked.map(|size| PredictedWait::new(&demand.at(size), asking.target));
    (table, asked)
}
