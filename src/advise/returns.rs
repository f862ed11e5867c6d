//! How fast and how evenly connections come back while many are in use, told from runs of check-ins.
//!
//! What comes back from a level in a moment says little of what would come back from it for long:
//! with a lock that is always held for as long, a level is high because many came just now, and soon
//! many leave it. Over a run of check-ins that evens out.

use super::law::Point;
use super::smooth::{Pool, rising};
use crate::observe::load::{Load, Moments};

/// Runs that something is told from, at least.
const ENOUGH: f64 = 30.0;
/// At a full pool every run is of the same level, and fewer are enough.
const ENOUGH_FULL: f64 = 10.0;

/// Bounds of what is believed of the variation.
const LEAST: f64 = 0.02;
const MOST: f64 = 20.0;

/// So close to the highest rate is as good as there.
const NEAR: f64 = 0.97;
/// So many levels further up what saturates is busy all the time.
const FURTHER: f64 = 2.0;
/// Arrivals must leave this much of the highest rate, as a logarithm.
const ROOM: f64 = 0.05;

#[derive(Debug, Clone)]
pub(super) struct Returns {
    /// Squared variation of the time between two that come back from the highest levels, in the long
    /// run. It is that of what saturates, if something does.
    variation: f64,
    /// What comes back in a second from the highest levels.
    highest: f64,
    /// Mean level of their runs.
    level: f64,
    runs: Vec<Run>,
}

/// The runs in which never fewer than `least` were in use, and `least` once.
#[derive(Debug, Clone, Copy)]
struct Run {
    least: f64,
    /// Mean level.
    mean: f64,
    /// What came back in a second; the more the higher the level.
    rate: f64,
    count: f64,
}

struct Seen {
    least: f64,
    mean: f64,
    times: Moments,
}

impl Returns {
    pub(super) fn learn(load: &Load) -> Option<Self> {
        let seen: Vec<Seen> = load
            .levels
            .iter()
            .enumerate()
            .filter(|(index, at)| *index > 0 && at.runs.count > 0 && at.runs.sum > 0.0)
            .map(|(index, at)| Seen {
                least: Load::level_of(index),
                mean: at.run_used / at.runs.sum,
                times: at.runs,
            })
            .collect();
        let Top {
            variation,
            rate: highest,
            level,
        } = Top::of(&seen)?;
        let pools = rising(seen.iter().map(|at| Pool {
            rate: f64::from(Load::RUN) * at.times.count as f64 / at.times.sum,
            weight: at.times.count as f64,
        }));
        let runs = seen.iter().zip(pools).map(|(at, pool)| Run {
            least: at.least,
            mean: at.mean,
            rate: pool.rate.min(highest),
            count: pool.weight,
        });
        Some(Self {
            variation: variation.clamp(LEAST, MOST),
            highest,
            level,
            runs: runs.collect(),
        })
    }

    /// The squared variation of what saturates. Where it is shared, all in use have a part of their
    /// work done at both ends of a run, on average half of it and none more likely than another: that
    /// is no variation of what it lets through.
    pub(super) fn variation(&self, turns: f64) -> f64 {
        let under_way = (1.0 - turns) * self.level / (6.0 * f64::from(Load::RUN));
        (self.variation - under_way).max(LEAST)
    }

    /// No more than this comes back from a level for long: so much did from that level and higher
    /// ones. A little more where that is not certain, and without end where it was not seen.
    pub(super) fn most(&self, level: f64) -> f64 {
        let run = self
            .runs
            .iter()
            .find(|run| run.least >= level || run.is_of(level));
        run.map_or(f64::INFINITY, |run| {
            let noise = self.variation / (f64::from(Load::RUN) * run.count);
            run.rate * (1.0 + noise.sqrt())
        })
    }

    /// What comes back while all are in use that may be.
    pub(super) fn full(&self, limit: f64) -> Option<f64> {
        let run = self.runs.iter().find(|run| run.is_of(limit))?;
        (run.count >= ENOUGH_FULL).then_some(run.rate)
    }

    /// How far those in use take turns at what saturates: 1 for a lock, which one has after the
    /// other, and 0 for processors, which all share. Where they take turns, the highest levels are
    /// those at which many have come just now, and they are left faster than connections come back
    /// for long; and the more so the fewer arrive. None where it was not seen.
    pub(super) fn turns(&self, seen: &[Point], full: f64, arrivals: f64) -> Option<f64> {
        let saturated = |p: &&Point| p.level < full - 1.0 && self.is_near_highest(p.level);
        let first = seen.iter().find(saturated)?.level;
        let further = seen
            .iter()
            .filter(|p| saturated(p) && p.level >= first + FURTHER);
        let all: f64 = further.clone().map(|p| p.completions).sum();
        // The highest of them: lower ones are left for both sides.
        let (mut sum, mut weight) = (0.0, 0.0);
        for p in further.rev() {
            if weight > all / 4.0 {
                break;
            }
            sum += p.completions * (p.rate / self.highest).ln();
            weight += p.completions;
        }
        let room = (self.highest / arrivals).ln();
        let turns = sum / weight / room;
        (turns.is_finite() && room > ROOM).then(|| turns.clamp(0.0, 1.0))
    }

    fn is_near_highest(&self, level: f64) -> bool {
        let most = self.most(level);
        most.is_finite() && most >= self.highest * NEAR
    }
}

impl Run {
    /// Whether all of it was at about this level. A full pool has one less for a moment, whenever one
    /// comes back.
    fn is_of(&self, level: f64) -> bool {
        self.mean > level - 0.5 && self.least > level - 1.5
    }
}

/// The runs at the highest levels.
struct Top {
    /// Around the mean of each level.
    variation: f64,
    rate: f64,
    level: f64,
}

impl Top {
    fn of(seen: &[Seen]) -> Option<Self> {
        let (mut count, mut time, mut used) = (0.0, 0.0, 0.0);
        let (mut squares, mut of) = (0.0, 0.0);
        for Seen { times, mean, .. } in seen.iter().rev() {
            let runs = times.count as f64;
            if let Some(variation) = times.squared_variation() {
                squares += variation * runs;
                of += runs - 1.0;
            }
            count += runs;
            time += times.sum;
            used += mean * times.sum;
            if count >= ENOUGH {
                let found = Self {
                    variation: squares / of * f64::from(Load::RUN),
                    rate: f64::from(Load::RUN) * count / time,
                    level: used / time,
                };
                let figures = [found.variation, found.rate, found.level];
                return figures
                    .iter()
                    .all(|figure| figure.is_finite())
                    .then_some(found);
            }
        }
        None
    }
}
