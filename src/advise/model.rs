//! The waiting to expect at each number of connections.

use super::chain;
use super::curve::Curve;
use super::demand::Demand;
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
    /// Squared variation of the holds.
    holds: f64,
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

/// Rates that are told apart.
const GROUPS: usize = 8;

/// Larger pools are not asked about.
const MOST: u32 = 10_000;

impl Model {
    /// At least so much is needed.
    pub(crate) const SECONDS: f64 = 20.0;
    pub(crate) const CHECKOUTS: u64 = 1000;

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
        let curve = Curve::learn(load).ok_or(unusable)?;
        let demand = Demand::learn(load).ok_or(unusable)?;
        let holds = load
            .held
            .squared_variation()
            .filter(|variation| variation.is_finite())
            .map_or(1.0, |variation| variation.clamp(0.05, 100.0));
        Ok(Self {
            curve,
            demand,
            holds,
        })
    }

    /// The waiting with so many connections, were there `demand` times as many arrivals.
    pub(crate) fn at(&self, connections: u32, demand: f64) -> Prediction {
        let size = connections.clamp(1, MOST);
        let rate = self.demand.rate
            * if demand.is_finite() {
                demand.max(0.0)
            } else {
                1.0
            };
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
        match self.waits(size, rate, best) {
            Some(waits) => Prediction {
                queueing: waits.exceeding(0.0),
                mean: waits.mean(),
                p50: waits.quantile(0.5),
                p95: waits.quantile(0.95),
                p99: waits.quantile(0.99),
                ..prediction
            },
            None => prediction,
        }
    }

    /// None if the load is more than so many connections can serve.
    fn waits(&self, size: u32, rate: f64, best: f64) -> Option<Waits> {
        if !(rate < best) {
            return None;
        }
        let mut waits = Waits::default();
        let mut steady = self.backlogs(rate, best, &mut waits);
        steady.sort_by(|a, b| a.0.total_cmp(&b.0));
        for (rate, arrivals) in groups(&steady) {
            let tail = self.tail(size, rate)?;
            // How long the queue remembers: the relaxation time of heavy traffic.
            let spare = 1.0 - (rate / best).sqrt();
            let relaxation = 1.0 / (best * spare * spare);
            let (variation, regular) = (
                self.demand.variation(relaxation),
                self.demand.regularity(relaxation),
            );
            // Allen and Cunneen (A. O. Allen, Probability, Statistics and Queueing Theory, 1990):
            // the wait grows with (ca² + cs²) / 2. Bursts are in the chain already, with holds of
            // variation 1.
            let factor = if variation > 1.0 {
                (variation + self.holds) / (variation + 1.0)
            } else {
                f64::midpoint(regular, self.holds)
            };
            waits.steady(arrivals, tail, factor);
        }
        Some(waits)
    }

    fn tail(&self, size: u32, rate: f64) -> Option<chain::Tail> {
        let service = |level| self.curve.rate(level);
        self.demand
            .bursts
            .and_then(|bursts| chain::modulated(&bursts.phases(rate), size, service))
            .or_else(|| chain::poisson(rate, size, service))
    }

    /// Follows the blocks: in those with more arrivals than can be served a backlog grows, that
    /// drains in the next ones. What is left are stretches of a steady queue, with their rate and
    /// the number of arrivals.
    fn backlogs(&self, rate: f64, best: f64, waits: &mut Waits) -> Vec<(f64, f64)> {
        let mut steady = Vec::with_capacity(self.demand.blocks.len() + 1);
        if self.demand.blocks.is_empty() {
            steady.push((rate, 1.0));
        }
        let mut behind = 0.0_f64;
        for (seconds, relative) in &self.demand.blocks {
            let rate = rate * relative;
            let growth = rate - best;
            let after = (behind + growth * seconds).max(0.0);
            // For how long there is a backlog.
            let backlog = if behind <= 0.0 && growth <= 0.0 {
                0.0
            } else if growth < 0.0 {
                (behind / -growth).min(*seconds)
            } else {
                *seconds
            };
            waits.backlog(rate * backlog, behind / best, after / best);
            if backlog < *seconds {
                steady.push((rate, rate * (seconds - backlog)));
            }
            behind = after;
        }
        steady
    }
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
