//! What keeps more connections from serving more, as it is reported.

use std::collections::HashMap;

use serde::Serialize;

use super::model::{Limit, Model, Station};
use super::predicted::finite;

/// What keeps more connections from serving more, as far as the record shows.
#[non_exhaustive]
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Bottleneck {
    /// What it is.
    pub kind: BottleneckKind,
    /// How holds are in each other's way there; `null` where they are not, or it is not known.
    pub contention: Option<Contention>,
    /// How many of them can work there at the same time without being in each other's way: 1 at a lock,
    /// about the number of processors where these are shared.
    pub parallel: Option<f64>,
    /// The work of a hold there, in milliseconds: the time that it takes when nobody else is there.
    pub work_ms: Option<f64>,
    /// The number of connections beyond which practically no more is served: the first at which it is
    /// within 5 % of the most; `null` where each connection more serves more.
    pub saturates_at: Option<u32>,
    /// The most that is served then, in checkouts a second.
    pub most_per_second: Option<f64>,
    /// The places whose holds are in each other's way; empty where all are.
    pub places: Vec<String>,
    /// The numbers of these places in the record.
    #[serde(skip)]
    pub(super) numbers: Vec<u16>,
}

/// What keeps more connections from serving more.
#[non_exhaustive]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum BottleneckKind {
    /// The number of connections: each more serves more.
    Connections,
    /// The database: queries take longer when more of them run.
    Database,
    /// The service itself: the time between queries grows with the connections in use.
    Application,
    /// Holds take longer when more connections are in use, and nothing that was tried explains how.
    Unknown,
}

/// How holds are in each other's way.
#[non_exhaustive]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Contention {
    /// One at a time: a lock.
    Lock,
    /// They share what there is, such as processors.
    Shared,
}

impl Bottleneck {
    /// With the names of its places.
    pub(super) fn named(mut self, places: &HashMap<u16, String>) -> Self {
        let names = self.numbers.iter().filter_map(|number| places.get(number));
        self.places = names.cloned().collect();
        self.places.sort_unstable();
        self.places.dedup();
        self
    }

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
            places: Vec::new(),
            numbers: numbers.filter(|_| known).collect(),
        }
    }
}
