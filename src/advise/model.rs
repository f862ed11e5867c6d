//! The waiting to expect at each number of connections.

use super::backlog::Stretches;
use super::bottleneck::Bottleneck;
use super::chain::{self, Tail};
use super::clients::Clients;
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
    /// Connections with which nobody would have queued.
    enough: Option<f64>,
    /// Those who ask, where they wait for their answer before they ask again.
    clients: Option<Clients>,
}

/// The waiting at one number of connections, in seconds; infinite where the load is more than they
/// can serve.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Prediction {
    pub(crate) connections: u32,
    /// Arrivals over what can be served at most; above 1 the queue grows without end.
    pub(crate) utilization: f64,
    /// Checkouts that are served a second. Clients who wait for their answers ask less often where they
    /// wait for longer; of others all are, as long as so many connections can.
    pub(crate) served: f64,
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
        Ok(Self {
            variation: intrinsic(&holds, &curve),
            enough: enough(load),
            clients: Clients::learn(load),
            curve,
            demand,
            holds,
        })
    }

    pub(crate) fn curve(&self) -> &Curve {
        &self.curve
    }

    pub(crate) fn bottleneck(&self) -> Bottleneck {
        Bottleneck::of(&self.curve, &self.holds)
    }

    /// How many ask, where each waits for its answer before it asks again.
    pub(crate) fn clients(&self) -> Option<u32> {
        self.clients.map(|clients| clients.number)
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
            served: rate.min(best),
            queueing: 1.0,
            mean: f64::INFINITY,
            p50: f64::INFINITY,
            p95: f64::INFINITY,
            p99: f64::INFINITY,
            beyond_data: size.saturating_sub(self.curve.seen()),
        };
        if let Some(clients) = &self.clients {
            if f64::from(clients.number) * times > f64::from(Self::MOST) {
                return prediction;
            }
            let served = clients.served(size, times, &self.curve);
            return Prediction {
                // They do not come faster than they are served.
                utilization: (served.rate / best).min(1.0 - f64::EPSILON),
                served: served.rate,
                queueing: served.queueing(),
                mean: served.mean(),
                p50: served.quantile(0.5),
                p95: served.quantile(0.95),
                p99: served.quantile(0.99),
                ..prediction
            };
        }
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
            let full = self.left_full(size, rate);
            let tail = self.tail(size, rate, full)?;
            // The chain's time is that of the rate by which its levels are left.
            let factor = if full > rate {
                factor * (full - rate) / (best - rate)
            } else {
                factor
            };
            Some((tail.no_longer_than(quickest * factor), factor))
        };
        let mut waits = Waits::default();
        let stretches = Stretches::of(&self.demand, rate, best);
        for (arrivals, backlog) in stretches.behind {
            waits.behind(arrivals, backlog, Tail::exponential(quickest), 1.0);
        }
        for (rate, arrivals) in stretches.steady {
            let (tail, factor) = part(rate)?;
            waits.steady(arrivals, tail, factor);
        }
        Some(waits)
    }

    fn tail(&self, size: u32, rate: f64, full: f64) -> Option<Tail> {
        let left = self.curve.left(rate);
        self.demand
            .bursts
            .and_then(|bursts| chain::modulated(&bursts.phases(rate), size, full, left))
            .or_else(|| chain::poisson(rate, size, full, left))
    }

    /// The rate by which levels are left that are beyond so many connections, while so many arrive. It
    /// is the curve's. But where those in use take turns at what saturates, and that is more regular
    /// than chance, an additional one in the queue means more than one more that is before it, and is
    /// rarer: by the power `2 / (1 + variation)`. Where they share it, those in use have a part of
    /// their work done, and the two make up for each other; and holds that do not get in each other's
    /// way leave by the curve's rate whatever their variation (B. Sevastyanov, 1957).
    fn left_full(&self, size: u32, arrivals: f64) -> f64 {
        let best = self.curve.rate(size);
        let Some(station) = self.curve.station() else {
            return best;
        };
        let busy = self.curve.busy(size).powi(2);
        let variation = 1.0 - busy * (1.0 - station.supposed_variation());
        let regular = ((1.0 - variation) / (1.0 + variation)).max(0.0);
        let power = 1.0 + station.supposed_turns() * regular;
        let left = arrivals * (best / arrivals).powf(power);
        if left.is_finite() { left } else { best }
    }

    /// Squared variation of what comes back while so many are in use all the time: that of the holds,
    /// or of what saturates, the more the busier it is.
    fn returns(&self, size: u32) -> f64 {
        let Some(station) = self.curve.station() else {
            return self.variation;
        };
        let busy = self.curve.busy(size).powi(2);
        self.variation + busy * (station.supposed_variation() - self.variation)
    }
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
