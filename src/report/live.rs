//! `live`: the snapshot of the page. It has what is known without asking the database.

mod blamed;
mod events;
mod hour;
mod lanes;
mod places;
mod tables;
mod verdict;

use serde::Serialize;

use self::blamed::Blamed;
use self::events::EventReport;
use self::hour::HourColumns;
pub(crate) use self::lanes::HoldReport;
use self::lanes::Lanes;
pub(crate) use self::places::Place;
use self::places::Places;
use self::tables::{SettingInForce, SiteUse, StatementUse};
use self::verdict::Verdict;
use super::sessions::SessionTally;
use super::source::{Source, SourceFacts};
use super::warnings::{Finding, Severity};
use crate::identity;
use crate::observe::Observe;
use crate::record::inventory::Availability;
use crate::record::living::Living;
use crate::record::recorder::Recorder;

/// The samples of the hour in a snapshot that is not asked for the whole hour.
const LATEST: usize = 24;

/// The most other pools in a snapshot.
const POOLS: usize = 50;

/// The pool at one instant, for the page. Instants are in Unix seconds, durations in seconds. `null` means
/// that a value is unknown.
#[derive(Debug, Serialize)]
pub(crate) struct Live {
    pub(crate) pool_name: String,
    database: &'static str,
    /// The app: `service@instance`, as the database shows it.
    service: String,
    now: f64,
    uptime_seconds: f64,
    pub(crate) verdict: Verdict,
    pub(crate) warnings: Vec<Warning>,
    counts: LiveCounts,
    hour: HourColumns,
    events: Vec<EventReport>,
    pub(crate) places: Vec<Place>,
    #[serde(flatten)]
    pub(crate) lanes: Lanes,
    blame: Blamed,
    routes: Vec<SiteUse>,
    statements: Vec<StatementUse>,
    configuration: Vec<SettingInForce>,
    /// The other pools of the process.
    pools: Vec<OtherPool>,
}

/// Another pool of the process.
#[derive(Debug, PartialEq, Serialize)]
struct OtherPool {
    name: String,
    /// The path of its page; `null` before its monitor has answered.
    path: Option<String>,
}

impl OtherPool {
    /// Returns the other pools by name.
    fn all(recorder: &Recorder) -> Vec<Self> {
        let pools = Living::all().pools().into_iter();
        let others = pools.filter(|pool| !std::ptr::eq(&**pool, recorder));
        let mut others: Vec<_> = others
            .map(|pool| Self {
                name: pool.name.to_string(),
                path: pool.mount().map(|path| path.to_string()),
            })
            .collect();
        others.sort_by(|a, b| (&a.name, &a.path).cmp(&(&b.name, &b.path)));
        others.truncate(POOLS);
        others
    }
}

/// A warning of `health`.
#[derive(Debug, Serialize)]
pub(crate) struct Warning {
    pub(crate) severity: Severity,
    pub(crate) message: String,
    pub(crate) recommendation: String,
}

impl From<Finding> for Warning {
    fn from(finding: Finding) -> Self {
        Self {
            severity: finding.severity,
            message: finding.warning,
            recommendation: finding.recommendation,
        }
    }
}

/// The connections and checkouts of this instant.
#[derive(Debug, Serialize)]
struct LiveCounts {
    in_use: u32,
    /// What the connections in use do; `null` if the queries of some are not observed.
    querying: Option<u32>,
    idle_in_hand: Option<u32>,
    idle_in_transaction: Option<u32>,
    idle: u32,
    open: u32,
    connecting: u32,
    pool_size: u32,
    max_connections: u32,
    pending: u32,
    suspended: bool,
    closed: bool,
}

/// How much a snapshot contains.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Extent {
    /// The last samples and the last holds, for a page that is open.
    Latest,
    /// The whole hour and the holds of the last half minute, for a page that is opened.
    Whole,
}

impl<S: Source> Observe<S> {
    /// Returns the snapshot, without I/O.
    pub(crate) fn live_by(&self, facts: &SourceFacts, extent: Extent) -> Live {
        let recorder = &*self.recorder;
        let clock = PageClock::read(recorder);
        let (health, mut findings) = self.health_now(facts);
        findings.retain(|finding| finding.severity > Severity::Ok);
        let verdict = Verdict::take(&health, &mut findings);
        let mut places = Places::new(facts.source_lines);
        let lanes = Lanes::read(recorder, clock, facts, extent, &mut places);
        let blame = Blamed::read(recorder, &mut places);
        let samples = recorder.timeline(match extent {
            Extent::Latest => LATEST,
            Extent::Whole => usize::MAX,
        });
        let status = &health.status;
        let tally = SessionTally::of_holders(&self.holder_reports(facts), 0);
        let states = tally
            .idle_in_transaction
            .filter(|_| tally.total > 0 || status.checked_out == 0);
        let counts = LiveCounts {
            in_use: status.checked_out,
            querying: states.map(|_| tally.active),
            idle_in_hand: states.map(|_| tally.idle),
            idle_in_transaction: states,
            idle: status.idle,
            open: status.total_connections,
            connecting: status.waiting_for.connecting,
            pool_size: status.pool_size,
            max_connections: status.max_connections,
            pending: status.pending,
            suspended: status.state == Availability::Suspended,
            closed: matches!(status.state, Availability::Draining | Availability::Closed),
        };
        Live {
            pool_name: status.pool.clone(),
            database: facts.kind.system_name(),
            service: format!("{}@{}", identity::service_name(), identity::instance_id()),
            now: clock.unix(clock.now),
            uptime_seconds: status.uptime_seconds,
            verdict,
            warnings: findings.into_iter().map(Warning::from).collect(),
            counts,
            hour: HourColumns::of(&samples, clock),
            events: events::read(recorder, clock, facts.source_lines),
            places: places.all,
            lanes,
            blame,
            routes: SiteUse::read(recorder, facts.source_lines),
            statements: StatementUse::read(recorder, facts.settings.query_text),
            configuration: SettingInForce::all(facts),
            pools: OtherPool::all(recorder),
        }
    }
}

/// Converts the times of the pool's clock, all of one snapshot and of later ones alike.
#[derive(Debug, Clone, Copy)]
struct PageClock {
    /// The begin of the pool's clock, in Unix seconds.
    began: f64,
    /// The pool's time of the snapshot.
    now: u64,
}

impl PageClock {
    fn read(recorder: &Recorder) -> Self {
        Self {
            began: recorder.began,
            now: recorder.clock.now(),
        }
    }

    /// Returns a time of the pool's clock in Unix seconds.
    fn unix(self, at: u64) -> f64 {
        super::timings::round(self.began + crate::record::clock::seconds(at), 3)
    }
}
