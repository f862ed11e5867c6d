//! What keeps more connections from serving more, as it is told.

use serde::Serialize;

use super::predicted::finite;
use crate::advise::{self, Cause};

/// What keeps more connections from serving more, as far as the curve tells.
#[non_exhaustive]
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Bottleneck {
    /// What it is.
    pub kind: BottleneckKind,
    /// The number of connections in use beyond which practically no more is served: the first at
    /// which it is within 5 % of the most; `null` where each connection more serves more.
    pub saturates_at: Option<u32>,
    /// The most that is served then, in checkouts a second.
    pub most_per_second: Option<f64>,
    /// The number of connections in use beyond which less is served; `null` where it does not fall.
    pub falls_beyond: Option<u32>,
    /// How evenly it lets through, as the squared variation of the time from one to the next in the
    /// long run: 0 as a clock ticks, 1 by chance; `null` where that was not seen.
    pub variation: Option<f64>,
    /// How far those in use take turns at it: 1 for one after the other, as at a lock, 0 where they
    /// share it, as processors are shared. The more `variation` there is, the less it says; `null`
    /// where it was not seen.
    pub turns: Option<f64>,
    /// How holds are spent at each number of connections that was in use often enough.
    pub holds: Vec<HoldTimes>,
}

/// What keeps more connections from serving more.
#[non_exhaustive]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum BottleneckKind {
    /// The number of connections: each more serves more.
    Connections,
    /// The database: the time in queries grows with the connections in use. The server saturates, or
    /// they wait for each other's locks.
    Database,
    /// The service itself: it is the time outside of queries that grows.
    Application,
    /// Holds become longer, and it is not known how long queries take.
    Unknown,
}

/// How holds are spent at one number of connections in use.
#[non_exhaustive]
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct HoldTimes {
    /// Connections in use while they were held, on average.
    pub connections: f64,
    /// How many there were.
    pub holds: u64,
    /// How long they were held on average, in milliseconds.
    pub mean_ms: Option<f64>,
    /// Of that, the part in which the database was at work; `null` where it is not known.
    pub in_queries_ms: Option<f64>,
    /// The other part.
    pub outside_ms: Option<f64>,
}

impl From<advise::Bottleneck> for Bottleneck {
    fn from(found: advise::Bottleneck) -> Self {
        let millis = |seconds: f64| finite(seconds * 1e3, 3);
        Self {
            kind: match found.cause {
                None => BottleneckKind::Connections,
                Some(Cause::Queries) => BottleneckKind::Database,
                Some(Cause::Outside) => BottleneckKind::Application,
                Some(Cause::Unknown) => BottleneckKind::Unknown,
            },
            saturates_at: found.level,
            most_per_second: found.most.and_then(|most| finite(most, 3)),
            falls_beyond: found.peak,
            variation: found.variation.and_then(|variation| finite(variation, 3)),
            turns: found.turns.and_then(|turns| finite(turns, 3)),
            holds: found
                .holds
                .iter()
                .map(|at| HoldTimes {
                    connections: finite(at.level, 1).unwrap_or_default(),
                    holds: at.holds,
                    mean_ms: millis(at.held),
                    in_queries_ms: at.parts.and_then(|(queries, _)| millis(queries)),
                    outside_ms: at.parts.and_then(|(_, outside)| millis(outside)),
                })
                .collect(),
        }
    }
}
