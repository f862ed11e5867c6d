//! `optimize`: recommends a pool size for the measured load, with the predicted waits and the reasons.
//!
//! ```text
//! history ─▶ model/      ─▶ learned.rs ─▶ sizes.rs ─▶ sentences.rs, causes.rs
//! recorded    replays them   selects the    the rules    recommendations as text, and why no
//! checkouts                  load                        other size
//! ```

pub(crate) mod advisor;
mod bottleneck;
mod causes;
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
pub use self::statements::StatementShare;
pub use self::what_if::{WhatIf, WhatIfError};

use self::learned::{Learned, Models};
use self::predicted::finite;
use self::sentences::Said;
use self::sizes::{Sizing, sizing};
use crate::backend::{Activity, MonitorConnection};
use crate::observe::Observe;
use crate::record::inventory::Counts;
use crate::record::statements::OTHER;
use crate::report::call_sites::CallSite;
use crate::report::fleet::Fleet;
use crate::report::grant::{Grant, Own};
use crate::report::sessions::count;
use crate::report::timings::round;
use crate::report::{Configuration, Source, SourceFacts};

/// The recommended settings, and the reasons for them. The seed system's `optimize_pool_settings`.
///
/// All predictions are of the wait in the pool's queue, under the load of
/// [`Evidence::planned_arrivals_per_second`].
#[non_exhaustive]
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Optimization {
    /// The settings in force.
    pub current_settings: Configuration,
    /// The pool's current usage.
    pub current_usage: CurrentUsage,
    /// The number of connections that the usual load needs; `null` without enough data.
    pub recommended_pool_size: Option<u32>,
    /// The number of further connections that the peak load needs; `null` without enough data.
    pub recommended_max_overflow: Option<u32>,
    /// The configuration snippet to set: `DB_POOL_SIZE=14 DB_MAX_OVERFLOW=4`; `null` if the current
    /// settings should be kept, which includes settings close to the recommended ones.
    pub paste: Option<String>,
    /// The recommendations as text.
    pub recommendations: Vec<String>,
    /// The requested circumstances that differ from the measured ones.
    pub what_if: WhatIf,
    /// The target for the p95 of the wait in the queue, in milliseconds.
    pub target_p95_ms: f64,
    /// The predicted waits at the sizes around the recommended one and at the size in force; empty
    /// without enough data.
    pub predicted: Vec<PredictedWait>,
    /// The predicted waits at the requested size; `null` if none was requested.
    pub asked: Option<PredictedWait>,
    /// What limits the throughput of more connections; `null` without enough data.
    pub bottleneck: Option<Bottleneck>,
    /// The other users of the server; `null` if it has no limit or could not be queried.
    pub fleet: Option<Fleet>,
    /// The call sites that used most connection time within the last five minutes, at most ten.
    pub call_sites: Vec<CallSite>,
    /// The statements that took most time within the last five minutes, at most ten.
    pub statements: Vec<StatementShare>,
    /// The measurements behind the recommendation.
    pub evidence: Evidence,
    /// How accurate earlier predictions were; `null` before the first comparison.
    pub accuracy: Option<Accuracy>,
    /// The missing data if nothing can be recommended yet; `null` otherwise.
    pub not_enough_data: Option<NotEnoughData>,
}

/// The pool's current usage, in the seed system's terms.
#[non_exhaustive]
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct CurrentUsage {
    /// Number of open connections.
    pub total_connections: u32,
    /// Number of connections checked out.
    pub active_connections: u32,
    /// Number of open connections that are not checked out.
    pub idle_connections: u32,
    /// Connections in use, in percent of the most that the pool may open.
    pub pool_utilization_pct: f64,
}

/// How much more must be observed before a recommendation is possible.
#[non_exhaustive]
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct NotEnoughData {
    /// Seconds to observe.
    pub seconds_more: f64,
    /// Number of checkouts to complete.
    pub checkouts_more: u64,
}

impl<S: Source> Observe<S> {
    /// Returns the recommended size for the measured load, with the predicted waits and the reasons.
    /// Queries the server's limits over the monitoring connection, never over the pool.
    pub async fn optimize(&self) -> Optimization {
        self.optimize_by(self.get_ref().facts(), WhatIf::new())
            .await
    }

    /// Returns the recommendation for circumstances that differ from the measured ones.
    ///
    /// # Errors
    /// Returns an error if a parameter is out of bounds.
    pub async fn optimize_for(&self, what_if: &WhatIf) -> Result<Optimization, WhatIfError> {
        what_if.check()?;
        Ok(self.optimize_by(self.get_ref().facts(), *what_if).await)
    }

    /// Returns the recommendation. `what_if` must be within its bounds.
    pub(crate) async fn optimize_by(&self, facts: SourceFacts, what_if: WhatIf) -> Optimization {
        let answer = facts.lane.activity(MonitorConnection::TIMEOUT).await;
        let activity = answer.as_deref().ok();
        let counts = self.recorder.counts();
        let own = Own {
            process_ids: facts.process_ids.as_deref(),
            open: counts.open,
        };
        let fleet = activity.and_then(|activity| {
            Fleet::read(activity, own, facts.advice.replicas, what_if.replicas)
        });
        let granted = activity.and_then(|activity| Grant::of(activity, own.count(activity)));
        let asking = Asking {
            what_if,
            target: what_if
                .target_p95_ms
                .map_or(facts.advice.target.as_secs_f64(), |millis| millis / 1e3),
            headroom_pct: facts.advice.headroom_pct,
            overflows: facts.advice.overflows,
            counts,
        };
        let (mut call_sites, _) = CallSite::read(&self.recorder, facts.source_lines);
        call_sites.truncate(shares::NAMED);
        let found = Found {
            fleet,
            server_can_grant: granted.map(|grant| grant.available),
            call_sites,
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

    /// Returns the statements by text if the settings allow it, else by summary. Neither has values.
    fn statement_shares(&self, query_text: bool) -> Vec<StatementShare> {
        let all = self.recorder.statements().into_iter();
        StatementShare::read(all.map(|(statement, spent)| {
            let (text, summary) = (&*statement.text, &*statement.summary);
            // Beyond the limit no text is kept, and a text that begins with no word has no summary.
            let name = match (query_text && !text.is_empty(), summary.is_empty()) {
                (true, _) => text,
                (false, false) => summary,
                (false, true) => OTHER,
            };
            (name.to_owned(), spent.recent.count, spent.recent.time)
        }))
    }

    /// Returns recommendations drawn from the server's sessions.
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

/// The request for advice, and the pool's size.
#[derive(Debug, Clone, Copy)]
struct Asking {
    what_if: WhatIf,
    /// In seconds.
    target: f64,
    headroom_pct: f64,
    /// Whether the pool has an overflow setting.
    overflows: bool,
    counts: Counts,
}

impl Asking {
    /// Returns the factor by which to multiply the measured arrivals.
    fn times(&self) -> f64 {
        self.what_if.rate.unwrap_or(1.0) * (1.0 + self.headroom_pct / 100.0)
    }
}

/// The findings in addition to the loads.
#[derive(Debug, Clone)]
struct Found {
    fleet: Option<Fleet>,
    server_can_grant: Option<u32>,
    call_sites: Vec<CallSite>,
    /// The names of call sites, by their numbers in the record.
    places: HashMap<u16, String>,
    statements: Vec<StatementShare>,
    accuracy: Option<Accuracy>,
    /// Why the server could not be queried.
    unreachable: Option<String>,
}

/// Computes the recommendation from the findings, without I/O.
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
        call_sites: found.call_sites,
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

/// Returns the table of predictions, and the row of the requested size.
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
