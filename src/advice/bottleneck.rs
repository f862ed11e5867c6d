//! What limits the throughput of more connections, as reported.

use std::collections::{BTreeSet, HashMap};

use serde::Serialize;

use super::model::{Model, Part, Station, smallest};
use super::predicted::finite;

/// A throughput of this share of the maximum counts as the maximum.
const SATURATED: f64 = 0.95;

/// The largest number of connections at which to look for the saturation.
const MOST: u32 = Model::MOST / 10;

/// What limits the throughput of more connections, as far as the record shows.
#[non_exhaustive]
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Bottleneck {
    /// The limiting resource.
    pub kind: BottleneckKind,
    /// How concurrent holds slow each other down there; `null` if they do not, or if it is unknown.
    pub contention: Option<Contention>,
    /// How many holds can use the resource at the same time without slowing each other down: 1 for a
    /// lock, about the number of processors if these are shared.
    pub parallel: Option<f64>,
    /// How long one hold uses the resource, in milliseconds, if it is alone there.
    pub work_ms: Option<f64>,
    /// The number of connections beyond which the throughput stops growing: the smallest that reaches
    /// 95 % of the maximum; `null` if each further connection serves more.
    pub saturates_at: Option<u32>,
    /// The maximum throughput, in checkouts per second.
    pub most_per_second: Option<f64>,
    /// The call sites whose holds slow each other down; empty if all do.
    pub call_sites: Vec<String>,
}

/// The resource that limits the throughput.
#[non_exhaustive]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum BottleneckKind {
    /// The number of connections: each further one serves more.
    Connections,
    /// The database: queries take longer when more of them run.
    Database,
    /// The service itself: the time between queries grows with the connections in use.
    Application,
    /// Holds take longer when more connections are in use, and no tested model explains how.
    Unknown,
}

/// How concurrent holds slow each other down.
#[non_exhaustive]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Contention {
    /// One hold at a time, as with a lock.
    Lock,
    /// Holds share a resource, such as processors.
    Shared,
}

impl Bottleneck {
    /// Returns the bottleneck found by a model. `names` are those of the call sites.
    pub(super) fn of(model: &Model, names: &HashMap<u16, String>) -> Self {
        let station = match model.fit.understood {
            true => model.fit.station,
            false => Station::Free,
        };
        let (contention, parallel) = match station {
            Station::Free => (None, f64::INFINITY),
            Station::Lock => (Some(Contention::Lock), 1.0),
            Station::Shared(processors) => (Some(Contention::Shared), processors.max(1.0)),
        };
        let jobs = &model.fit.jobs;
        let work = jobs.iter().map(|job| job.inside).sum::<f64>() / jobs.len().max(1) as f64;
        let most = parallel / work;
        let is_saturated = |connections| model.replay.throughput(connections) >= SATURATED * most;
        let saturates_at = most.is_finite().then(|| smallest(MOST, is_saturated));
        let saturates_at = saturates_at.flatten();
        // Contention that limits no pool of a reasonable size is no bottleneck.
        let contention = contention.filter(|_| saturates_at.is_some());
        let parallel = contention.map_or(f64::INFINITY, |_| parallel);
        let kind = match (contention, model.fit.part) {
            (None, _) if !model.fit.understood => BottleneckKind::Unknown,
            (None, _) => BottleneckKind::Connections,
            (Some(_), Part::Outside) => BottleneckKind::Application,
            (Some(_), Part::Queries) => BottleneckKind::Database,
        };
        let places = model.fit.places.iter().filter(|_| contention.is_some());
        let places = places.flatten().filter_map(|number| names.get(number));
        let places: BTreeSet<&String> = places.collect();
        Self {
            kind,
            contention,
            parallel: finite(parallel, 2),
            work_ms: saturates_at.and_then(|_| finite(work * 1e3, 3)),
            saturates_at,
            most_per_second: saturates_at.and_then(|_| finite(most, 3)),
            call_sites: places.into_iter().cloned().collect(),
        }
    }
}
