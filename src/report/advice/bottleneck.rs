//! What keeps more connections from serving more.

use serde::Serialize;

use super::predicted::finite;
use crate::observe::load::{AtLevel, Load};
use crate::settings::Settings;

/// Where so much of the most is served, more connections are of no use.
const MOST: f64 = 0.98;
/// Serving less than this part of the most is falling.
const FALLING: f64 = 0.95;
/// Levels beyond those that were seen at which a curve's end is believed: so many times as far.
const IN_SIGHT: u32 = 4;
/// A level with fewer holds says nothing of how long they are.
const ENOUGH: u64 = 50;
/// Holds that grow by less are as long as they were.
const GROWTH: f64 = 1.1;

/// What keeps more connections from serving more, as far as the curve tells.
#[non_exhaustive]
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Bottleneck {
    /// What it is.
    pub kind: BottleneckKind,
    /// The number of connections in use beyond which practically no more is served; `null` where
    /// none is in sight.
    pub saturates_at: Option<u32>,
    /// Whether more connections than that serve less, and not only no more.
    pub falls: bool,
    /// The holds of the lower half of the levels that were seen, by time; `null` where too few
    /// were seen, or it is not known how long queries take.
    pub below: Option<HoldTimes>,
    /// Those of the upper half.
    pub above: Option<HoldTimes>,
}

/// What keeps more connections from serving more.
#[non_exhaustive]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum BottleneckKind {
    /// The number of connections: each more serves more, as far as is known.
    Connections,
    /// The database: the time in queries grows with the connections in use. The server saturates, or
    /// they wait for each other's locks.
    Database,
    /// The service itself: it is the time outside of queries that grows.
    Application,
    /// No more is served, and it is not known how long queries take.
    Unknown,
}

/// How holds are spent at some levels.
#[non_exhaustive]
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct HoldTimes {
    /// Connections in use, on average.
    pub connections: f64,
    /// The part of a mean hold in which the database was at work, in milliseconds.
    pub in_queries_ms: f64,
    /// The other part, in milliseconds.
    pub outside_ms: f64,
}

impl Bottleneck {
    /// Of the model's `rate`, and of how long the holds were.
    pub(super) fn of(load: &Load, rate: impl Fn(u32) -> Option<f64>) -> Self {
        let seen = load.levels.iter().rposition(|level| level.completions > 0);
        let seen = seen.map_or(1, |index| Load::level_of(index).round() as u32);
        let last = seen.saturating_mul(IN_SIGHT).min(Settings::MAX_CONNECTIONS);
        let rate = |level| rate(level).filter(|rate| rate.is_finite()).unwrap_or(0.0);
        let most = (1..=last).map(rate).fold(0.0, f64::max);
        let level = (1..=last).find(|level| rate(*level) >= MOST * most);
        let further = level.map(|level| rate(level.saturating_mul(2).max(last)));
        // Where it is still as much as it can be at the end, the end is not in sight.
        let saturates_at = level.filter(|level| *level < last - last / IN_SIGHT);
        let falls = saturates_at.is_some() && further.is_some_and(|rate| rate < FALLING * most);
        let halves = halves(load);
        Self {
            kind: kind(saturates_at, halves),
            saturates_at,
            falls,
            below: halves.map(|(below, _)| below),
            above: halves.map(|(_, above)| above),
        }
    }
}

fn kind(saturates_at: Option<u32>, halves: Option<(HoldTimes, HoldTimes)>) -> BottleneckKind {
    let Some((below, above)) = halves else {
        return match saturates_at {
            None => BottleneckKind::Connections,
            Some(_) => BottleneckKind::Unknown,
        };
    };
    let queries = above.in_queries_ms - below.in_queries_ms;
    let outside = above.outside_ms - below.outside_ms;
    let before = below.in_queries_ms + below.outside_ms;
    let grows = queries.max(0.0) + outside.max(0.0) >= (GROWTH - 1.0) * before;
    match () {
        () if saturates_at.is_none() && !grows => BottleneckKind::Connections,
        () if queries >= outside => BottleneckKind::Database,
        () => BottleneckKind::Application,
    }
}

/// The levels with the shorter half of all time held in them, and those with the other.
fn halves(load: &Load) -> Option<(HoldTimes, HoldTimes)> {
    let levels = load.levels.iter().enumerate();
    let known = || {
        let known = levels
            .clone()
            .filter(|(_, level)| level.measured > 0.0 && level.holds >= ENOUGH);
        known.map(|(index, level)| (Load::level_of(index), level))
    };
    let all: f64 = known().map(|(_, level)| level.measured).sum();
    let (mut below, mut above) = (Sum::default(), Sum::default());
    let mut passed = 0.0;
    for (connections, level) in known() {
        let half = if passed < all / 2.0 {
            &mut below
        } else {
            &mut above
        };
        half.add(connections, level);
        passed += level.measured;
    }
    Some((below.times()?, above.times()?))
}

/// The holds of some levels.
#[derive(Debug, Default)]
struct Sum {
    level: f64,
    holds: f64,
    held: f64,
    measured: f64,
    busy: f64,
}

impl Sum {
    fn add(&mut self, connections: f64, level: &AtLevel) {
        self.level += connections * level.holds as f64;
        self.holds += level.holds as f64;
        self.held += level.held;
        self.measured += level.measured;
        self.busy += level.busy;
    }

    fn times(&self) -> Option<HoldTimes> {
        let share = (self.busy / self.measured).min(1.0);
        let mean = self.held / self.holds * 1e3;
        Some(HoldTimes {
            connections: finite(self.level / self.holds, 1)?,
            in_queries_ms: finite(mean * share, 3)?,
            outside_ms: finite(mean * (1.0 - share), 3)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Levels up to 10, at each of which holds take so long, in queries and outside of them.
    fn load(queries: impl Fn(f64) -> f64, outside: impl Fn(f64) -> f64) -> Load {
        let level = |n: u32| {
            let (queries, outside) = (queries(f64::from(n)), outside(f64::from(n)));
            AtLevel {
                seconds: 10.0,
                completions: 1000,
                holds: 1000,
                held: 1000.0 * (queries + outside),
                measured: 1000.0 * (queries + outside),
                busy: 1000.0 * queries,
            }
        };
        let levels = (1..=10).map(level);
        Load {
            levels: std::iter::once(AtLevel::default()).chain(levels).collect(),
            ..Load::default()
        }
    }

    #[test]
    fn a_curve_that_rises_has_no_end_in_sight() {
        let load = load(|_| 0.01, |_| 0.03);
        let told = Bottleneck::of(&load, |n| Some(f64::from(n) * 25.0));
        assert_eq!(
            (told.kind, told.saturates_at),
            (BottleneckKind::Connections, None)
        );
        assert!(!told.falls);
        let (below, above) = (told.below.unwrap(), told.above.unwrap());
        assert!(
            below.connections < 5.5 && above.connections > 5.5,
            "{told:?}"
        );
        assert_eq!((below.in_queries_ms, above.outside_ms), (10.0, 30.0));
    }

    #[test]
    fn the_level_beyond_which_no_more_is_served_is_named() {
        let load = load(|n| 0.01 * n, |_| 0.003);
        for (slope, falls) in [(0.0, false), (2.0, true)] {
            let rate = |n: u32| f64::from(n.min(8)) * 25.0 - f64::from(n.saturating_sub(8)) * slope;
            let told = Bottleneck::of(&load, |n| Some(rate(n)));
            assert_eq!((told.saturates_at, told.falls), (Some(8), falls));
            assert_eq!(told.kind, BottleneckKind::Database);
        }
    }

    #[test]
    fn what_grows_is_what_it_is_of() {
        let rate = |n: u32| Some(f64::from(n.min(8)));
        let of = |load: &Load| Bottleneck::of(load, rate).kind;
        assert_eq!(of(&load(|n| 0.01 * n, |_| 0.01)), BottleneckKind::Database);
        assert_eq!(
            of(&load(|_| 0.01, |n| 0.01 * n)),
            BottleneckKind::Application
        );
        let mut unmeasured = load(|_| 0.01, |_| 0.01);
        for level in &mut unmeasured.levels {
            (level.measured, level.busy) = (0.0, 0.0);
        }
        assert_eq!(of(&unmeasured), BottleneckKind::Unknown);
        assert_eq!(of(&Load::default()), BottleneckKind::Connections);
        // A few odd ones say nothing.
        let mut odd = load(|_| 0.01, |_| 0.01);
        odd.levels[10].holds = 49;
        odd.levels[10].held = 100.0;
        let rising = |n: u32| Some(f64::from(n));
        assert_eq!(
            Bottleneck::of(&odd, rising).kind,
            BottleneckKind::Connections
        );
    }

    #[test]
    fn nonsense_has_no_end() {
        for odd in [f64::NAN, f64::INFINITY, -1.0, 0.0] {
            let told = Bottleneck::of(&load(|_| odd, |_| odd), |_| Some(odd));
            assert!(told.saturates_at.is_none_or(|level| level >= 1), "{told:?}");
            let json = serde_json::to_string(&told).unwrap();
            assert!(!json.contains("NaN"), "{json}");
        }
        assert_eq!(Bottleneck::of(&Load::default(), |_| None).falls, false);
    }
}
