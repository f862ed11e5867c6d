//! `optimize`: recommends a pool size for the measured load, with the predicted waits and the reasons.
//!
//! ```text
//! history ─▶ model/      ─▶ learned.rs ─▶ recommendation.rs ─▶ sentences.rs, causes.rs
//! recorded    replays them   selects the    the size, by the     as text, and why no other size
//! checkouts                  load           rules of sizes.rs
//! ```

pub(crate) mod advisor;
mod background;
mod bottleneck;
mod causes;
mod evidence;
mod halved;
mod learned;
pub(crate) mod model;
mod predicted;
mod recommendation;
pub(crate) mod score;
mod sentences;
mod sizes;
#[cfg(test)]
mod tests;
mod what_if;

use serde::Serialize;

pub use self::bottleneck::{Bottleneck, BottleneckKind, Contention};
pub use self::evidence::{CurvePoint, Evidence, EvidenceWindow, EvidenceWindows, ReplayedRecord};
pub use self::halved::HalvedHolds;
pub use self::model::NotEnoughData;
pub use self::predicted::PredictedWait;
pub use self::score::{Accuracy, Comparison};
pub use self::what_if::{WhatIf, WhatIfError};

use self::halved::BlamedPlaces;
use self::recommendation::{Asking, Findings};
use crate::backend::MonitorConnection;
use crate::observe::Observe;
use crate::report::call_sites::CallSite;
use crate::report::fleet::Fleet;
use crate::report::grant::{Grant, Own};
use crate::report::sessions::count;
use crate::report::{Configuration, Source, SourceFacts, StatementShare, warnings};

/// The number of call sites in a report.
const NAMED: usize = 10;

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
    /// The effect of halving the holds of the call site to blame for most waiting; `null` if nobody queued
    /// within the last five minutes, or without enough data.
    pub halved: Option<HalvedHolds>,
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
        let answer = facts.monitor.activity(MonitorConnection::TIMEOUT).await;
        let activity = answer.as_deref().ok();
        let counts = self.recorder.counts();
        let process_ids = facts.process_ids();
        let own = Own {
            process_ids: process_ids.as_deref(),
            open: counts.open,
        };
        let fleet = activity.and_then(|activity| {
            let (set, asked) = (facts.settings.replicas, what_if.replicas);
            Fleet::read(activity, own, set, asked, facts.names())
        });
        let granted = activity.and_then(|activity| Grant::of(activity, own.count(activity)));
        let asking = Asking {
            what_if,
            target: what_if
                .target_p95_ms
                .map_or(facts.settings.target_wait.as_secs_f64(), |millis| {
                    millis / 1e3
                }),
            headroom_pct: facts.settings.advice_headroom_pct,
            overflows: facts.overflows,
            counts,
        };
        let (mut call_sites, _) = CallSite::read(&self.recorder, facts.source_lines);
        call_sites.truncate(NAMED);
        let found = Findings {
            fleet,
            server_can_grant: granted.map(|grant| grant.available),
            call_sites,
            most_blamed: BlamedPlaces::read(&self.recorder, facts.source_lines),
            places: CallSite::names(&self.recorder, facts.source_lines),
            statements: StatementShare::read(&self.recorder, facts.settings.query_text),
            accuracy: None,
            unreachable: answer.as_ref().err().map(|error| error.cause.to_string()),
        };
        let mut advice = self
            .recorder
            .advise(facts.configuration, asking, found)
            .await;
        if let Some(activity) = activity {
            let tally = count(activity, &facts, &self.holder_reports(&facts), counts.open);
            let limits = &facts.settings.thresholds;
            let idle = warnings::idle_in_transaction(tally.idle_in_transaction, limits);
            let longest = warnings::longest_query(tally.longest_query, limits);
            let sessions = idle.into_iter().chain(longest);
            let sessions = sessions.map(|it| format!("{}: {}", it.warning, it.recommendation));
            advice.recommendations.extend(sessions);
        }
        advice
    }
}
