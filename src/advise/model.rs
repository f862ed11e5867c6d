//! The waiting to expect at each number of connections.

use super::bottleneck::Bottleneck;
use super::chain::{self, Tail};
use super::curve::Curve;
use super::demand::Demand;
use super::holds::Holds;
use super::variability;
use super::waits::Waits;
use crate::observe::load::Load;

/// What is missing before anything can be said.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct NotEnough {
    /// More seconds to observe.
    pub(crate) seconds: f64,
    /// More checkouts to observe.
    pub(crate) checkouts: u64,
}

/// What was learned of a load, ready to be asked.
#[derive(Debug, Clone)]
pub(crate) struct Model {
    curve: Curve,
    demand: Demand,
    holds: Holds,
    /// Squared variation of the holds, less what they waited for each other.
    variation: f64,
    /// Squared variation of what saturates: 1 if that is not known.
    station: f64,
    /// Connections with which nobody would have queued.
    enough: Option<f64>,
}

/// The waiting at one number of connections, in seconds; infinite where the load is more than they
/// can serve.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Prediction {
    pub(crate) connections: u32,
    /// Arrivals over what can be served at most; above 1 the queue grows without end.
    pub(crate) utilization: f64,
    /// The share of checkouts that queue at all.
    pub(crate) queueing: f64,
    pub(crate) mean: f64,
    pub(crate) p50: f64,
    pub(crate) p95: f64,
    pub(crate) p99: f64,
    /// Levels beyond those that were seen often enough to know their rate; 0 within them.
    pub(crate) beyond_data: u32,
}

/// Arrivals this seldom, by what can be served, never meet.
const NOBODY: f64 = 1e-12;

/// For so many holds a queue remembers what came. It does so for longer the fuller it is; but were
/// it another figure at each size, more connections might seem to wait longer.
const REMEMBERED: f64 = 10.0;

/// Near its limit a queue takes long to settle. In a time `T` at the limit the mean wait is no more
/// than `UNSETTLED · sqrt(variation · T / μ)`: that of a Brownian motion reflected at zero, over that
/// time (J. M. Harrison, *Brownian Motion and Stochastic Flow Systems*, 1985).
const UNSETTLED: f64 = 0.75;

/// Rates that are told apart.
const GROUPS: usize = 8;

impl Model {
    /// At least so much is needed.
    pub(crate) const SECONDS: f64 = 20.0;
    pub(crate) const CHECKOUTS: u64 = 1000;
    /// Larger pools are not asked about.
    pub(crate) const MOST: u32 = 10_000;

    /// # Errors
    ///
    /// If too little was seen, or nothing that a rate can be told from.
    pub(crate) fn learn(load: &Load) -> Result<Self, NotEnough> {
        let seconds = if load.seconds.is_finite() {
            load.seconds
        } else {
            0.0
        };
        let missing = NotEnough {
            seconds: (Self::SECONDS - seconds).clamp(0.0, Self::SECONDS),
            checkouts: Self::CHECKOUTS.saturating_sub(load.held.count),
        };
        if missing.seconds > 0.0 || missing.checkouts > 0 {
            return Err(missing);
        }
        let unusable = NotEnough {
            seconds: Self::SECONDS,
            checkouts: Self::CHECKOUTS,
        };
        let holds = Holds::learn(load).ok_or(unusable)?;
        let curve = Curve::learn(load, &holds).ok_or(unusable)?;
        let demand = Demand::learn(load).ok_or(unusable)?;
        let variation = intrinsic(&holds, &curve);
        // It can only be told from arrivals at one rate.
        let station = if demand.is_even() {
            curve.variation(demand.rate)
        } else {
            None
        };
        Ok(Self {
            curve,
            demand,
            holds,
            variation,
            station: station.unwrap_or(1.0),
            enough: enough(load),
        })
    }

    pub(crate) fn curve(&self) -> &Curve {
        &self.curve
    }

    pub(crate) fn bottleneck(&self) -> Bottleneck {
        Bottleneck::of(&self.curve, &self.holds)
    }

    /// The waiting with so many connections, were there `demand` times as many arrivals.
    pub(crate) fn at(&self, connections: u32, demand: f64) -> Prediction {
        let size = connections.clamp(1, Self::MOST);
        let times = if demand.is_finite() {
            demand.max(0.0)
        } else {
            1.0
        };
        let rate = self.demand.rate * times;
        let best = self.curve.rate(size);
        let prediction = Prediction {
            connections,
            utilization: rate / best,
            queueing: 1.0,
            mean: f64::INFINITY,
            p50: f64::INFINITY,
            p95: f64::INFINITY,
            p99: f64::INFINITY,
            beyond_data: size.saturating_sub(self.curve.seen()),
        };
        let is_enough = |enough: f64| f64::from(size) >= enough * times.max(1.0);
        let waits = match self.enough.is_some_and(is_enough) && rate < best {
            true => Some(Waits::default()),
            false => self.waits(size, rate, best),
        };
        match waits {
            Some(waits) if waits.mean().is_finite() => Prediction {
                queueing: waits.exceeding(0.0),
                mean: waits.mean(),
                p50: waits.quantile(0.5),
                p95: waits.quantile(0.95),
                p99: waits.quantile(0.99),
                ..prediction
            },
            _ => prediction,
        }
    }

    /// None if the load is more than so many connections can serve.
    fn waits(&self, size: u32, rate: f64, best: f64) -> Option<Waits> {
        if rate < best * NOBODY {
            return Some(Waits::default());
        }
        if rate >= best || best.is_nan() {
            return None;
        }
        let returns = self.returns(size);
        let arrivals = self.demand.variation(REMEMBERED * self.holds.mean);
        let variation = f64::midpoint(self.demand.lasting_variation(), returns);
        let quickest = 1.0 / (UNSETTLED * (variation * self.demand.seconds / best).sqrt());
        let part = |rate: f64| {
            // Bursts are in the chain already, with holds of variation 1.
            let factor = if arrivals > 1.0 {
                (arrivals + returns) / (arrivals + 1.0)
            } else {
                variability::factor(arrivals, returns, size, rate / best)
            };
            let tail = self.tail(size, rate)?;
            // The tail's time is that of the rate by which the levels are left.
            let left = self.left(size, rate);
            let factor = if left > rate {
                factor * (left - rate) / (best - rate)
            } else {
                factor
            };
            Some((tail.no_longer_than(quickest * factor), factor))
        };
        let mut waits = Waits::default();
        let Stretches { mut steady, behind } = self.stretches(rate, best);
        for (arrivals, backlog) in behind {
            waits.behind(arrivals, backlog, Tail::exponential(quickest), 1.0);
        }
        steady.sort_by(|a, b| a.0.total_cmp(&b.0));
        for (rate, arrivals) in groups(&steady) {
            let (tail, factor) = part(rate)?;
            waits.steady(arrivals, tail, factor);
        }
        Some(waits)
    }

    fn tail(&self, size: u32, rate: f64) -> Option<Tail> {
        let service = |level| self.left(level, rate);
        self.demand
            .bursts
            .and_then(|bursts| chain::modulated(&bursts.phases(rate), size, service))
            .or_else(|| chain::poisson(rate, size, service))
    }

    /// The rate by which a level is left while so many arrive. It is the curve's, but with what
    /// saturates always busy and more regular than chance, high levels are left sooner (and low ones
    /// later): see [`Curve::variation`]. Holds that do not get in each other's way leave by the
    /// curve's rate whatever their variation (B. Sevastyanov, 1957).
    fn left(&self, level: u32, arrivals: f64) -> f64 {
        let curve = self.curve.rate(level);
        let busy = self.curve.busy(level).powi(2);
        if busy <= 0.0 || arrivals <= 0.0 {
            return curve;
        }
        let variation = 1.0 - busy * (1.0 - self.station);
        arrivals * (curve / arrivals).powf(2.0 / (1.0 + variation))
    }

    /// Squared variation of what comes back while so many are in use all the time: that of the holds,
    /// or of what saturates, the more the busier it is.
    fn returns(&self, size: u32) -> f64 {
        let busy = self.curve.busy(size).powi(2);
        self.variation + busy * (self.station.min(self.variation) - self.variation)
    }

    /// Follows the blocks: in those with more arrivals than can be served a backlog grows, that
    /// drains in the next ones.
    fn stretches(&self, rate: f64, best: f64) -> Stretches {
        let mut found = Stretches::default();
        if self.demand.blocks.is_empty() {
            found.steady.push((rate, 1.0));
        }
        let mut backlog = 0.0_f64;
        for (seconds, relative) in &self.demand.blocks {
            let rate = rate * relative;
            let growth = rate - best;
            let after = (backlog + growth * seconds).max(0.0);
            let behind_for = if growth >= 0.0 {
                *seconds
            } else {
                (backlog / -growth).min(*seconds)
            };
            if behind_for > 0.0 {
                let waits = (backlog / best, after / best);
                found.behind.push((rate * behind_for, waits));
            }
            if behind_for < *seconds {
                found.steady.push((rate, rate * (seconds - behind_for)));
            }
            backlog = after;
        }
        found
    }
}

/// What a load consists of.
#[derive(Debug, Default)]
struct Stretches {
    /// Rates at which the queue comes and goes, and their arrivals.
    steady: Vec<(f64, f64)>,
    /// Arrivals while there is a backlog, and the wait that it means at its two ends.
    behind: Vec<(f64, (f64, f64))>,
}

/// A few rates in place of many, each for as many arrivals: the rates are sorted.
fn groups(steady: &[(f64, f64)]) -> Vec<(f64, f64)> {
    let all: f64 = steady.iter().map(|(_, arrivals)| arrivals).sum();
    let mut groups = Vec::with_capacity(GROUPS);
    let (mut sum, mut arrivals, mut passed) = (0.0, 0.0, 0.0);
    for (index, (rate, weight)) in steady.iter().enumerate() {
        sum += rate * weight;
        arrivals += weight;
        passed += weight;
        let full = passed >= all * (groups.len() + 1) as f64 / GROUPS as f64;
        if arrivals > 0.0 && (full || index + 1 == steady.len()) {
            groups.push((sum / arrivals, arrivals));
            (sum, arrivals) = (0.0, 0.0);
        }
    }
    groups
}

/// As many connections as were in use at most, if more had been allowed: had there been no more, all
/// would have gone as it did. No chain has to say so, and a chain may be wrong: arrivals that wait for
/// answers before they come again never are more at once than those who send them.
fn enough(load: &Load) -> Option<f64> {
    let last = load.levels.iter().rposition(|at| at.seconds > 0.0)?;
    // Levels that share an entry: the highest of them.
    let most = (Load::level_of(last + 1) - 1.0).max(1.0);
    load.limit
        .is_some_and(|limit| most < f64::from(limit))
        .then_some(most)
}

/// The variation of what a hold takes by itself. What it waited for others is in the curve; it
/// varies about as an exponential time does, like the waiting at any queue.
fn intrinsic(holds: &Holds, curve: &Curve) -> f64 {
    if curve.is_straight() {
        return holds.variation;
    }
    let alone = curve.alone().min(holds.mean);
    let waited = holds.mean - alone;
    let variance = holds.variation * holds.mean * holds.mean - waited * waited;
    let found = variance / (alone * alone);
    if found.is_finite() {
        // What leaves a saturated server or a lock comes by chance at most.
        found.clamp(0.05, holds.variation.max(1.0))
    } else {
        holds.variation
    }
}
