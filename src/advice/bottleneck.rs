//! What limits the throughput of more connections, as reported.

use std::collections::HashMap;

use serde::Serialize;

use super::model::{Limit, Model, Station};
use super::predicted::finite;

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
    /// The numbers of these call sites in the record.
    #[serde(skip)]
    pub(super) numbers: Vec<u16>,
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
    /// Adds the names of the call sites.
    pub(super) fn named(mut self, places: &HashMap<u16, String>) -> Self {
        let names = self.numbers.iter().filter_map(|number| places.get(number));
        self.call_sites = names.cloned().collect();
        self.call_sites.sort_unstable();
        self.call_sites.dedup();
        self
    }

    /// Returns the bottleneck found by a model.
    pub(super) fn of(model: &Model) -> Self {
        let limit = model.limit();
        let (contention, parallel) = match model.fit.station {
            Station::Free => (None, None),
            Station::Lock => (Some(Contention::Lock), Some(1.0)),
            Station::Shared(processors) => (Some(Contention::Shared), Some(processors.max(1.0))),
        };
        let kind = match contention {
            _ if !model.fit.understood => BottleneckKind::Unknown,
            None => BottleneckKind::Connections,
            Some(_) if model.is_outside() => BottleneckKind::Application,
            Some(_) => BottleneckKind::Database,
        };
        let known = kind != BottleneckKind::Unknown;
        let limit = limit.filter(|_| known);
        let numbers = model.fit.places.iter().flatten().copied();
        Self {
            kind,
            contention: contention.filter(|_| known),
            parallel: parallel.filter(|_| known).and_then(|it| finite(it, 2)),
            work_ms: limit.and_then(|_| finite(model.work() * 1e3, 3)),
            saturates_at: limit.map(|Limit { connections, .. }| connections),
            most_per_second: limit.and_then(|Limit { rate, .. }| finite(rate, 3)),
            call_sites: Vec::new(),
            numbers: numbers.filter(|_| known).collect(),
        }
    }
}
