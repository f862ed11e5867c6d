//! Whether more connections bring more, and what stands in the way if not.

use super::curve::Curve;
use super::holds::{HoldAt, Holds};

/// So close to the highest rate is as good as there.
const WITHIN: f64 = 0.05;

/// Why the rate stops to grow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cause {
    /// The time in queries grows with the level: the server saturates, or queries wait for a lock.
    Queries,
    /// The time outside queries does: the application is short of something.
    Outside,
    /// Holds get longer, and it was not measured on what.
    Unknown,
}

/// Where more connections stop to bring more.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Bottleneck {
    /// None where the rate grows with every connection.
    pub(crate) cause: Option<Cause>,
    /// The first level within 5 % of the highest rate.
    pub(crate) level: Option<u32>,
    /// The highest rate, in checkouts a second.
    pub(crate) most: Option<f64>,
    /// Beyond this level the rate falls.
    pub(crate) peak: Option<u32>,
    /// Squared variation of what it lets through, and how far those in use take turns at it, from 0
    /// (they share it) to 1 (one after the other); where that is known.
    pub(crate) variation: Option<f64>,
    pub(crate) turns: Option<f64>,
    /// What the cause is told from.
    pub(crate) holds: Vec<HoldAt>,
}

impl Bottleneck {
    pub(super) fn of(curve: &Curve, holds: &Holds) -> Self {
        let (in_queries, outside) = (holds.growth_in_queries(), holds.growth_outside());
        let saturates = curve.saturates(WITHIN);
        let measured = holds.at.iter().any(|at| at.parts.is_some());
        let cause = saturates.map(|_| {
            if !measured {
                Cause::Unknown
            } else if in_queries.by >= outside.by {
                Cause::Queries
            } else {
                Cause::Outside
            }
        });
        Self {
            cause,
            level: saturates.map(|(_, level)| level),
            most: saturates.map(|(most, _)| most),
            variation: curve.station().and_then(|station| station.variation),
            turns: curve.station().and_then(|station| station.turns),
            peak: curve.falls().then(|| curve.peak()),
            holds: holds.at.clone(),
        }
    }
}
