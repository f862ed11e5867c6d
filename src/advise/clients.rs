//! Clients that each wait for their answer before they ask again: a number of workers, or a tool that
//! measures.
//!
//! Of `N` clients who let `Z` seconds pass between two checkouts, those `n` who hold a connection or
//! queue do not ask: `(N - n) / Z` arrive a second, and no queue grows without end. With departures
//! `μ(n)` that is the machine repairman's chain (C. Palm, 1947). One who arrives finds what there would
//! be without it (K. Sevcik and I. Mitrani, *The Distribution of Queuing Network States at Input and
//! Output Instants*, 1981), and who finds `n` with `c` connections waits for `n - c + 1` to come back.
//!
//! That a load is one is told from a queue that is never as long as chance would make it.

use super::curve::Curve;
use super::waits;
use crate::observe::load::{AtLevel, Load};

/// A queue that is by this factor shorter than the longest to be expected is not by chance: arrivals
/// and holds as regular as those of a clock make it half as long.
const SHORTER: f64 = 3.0;
/// A full pool seen less often says nothing by itself.
const ENOUGH: u64 = 1000;
/// Who asks again at once does so after so many seconds.
const INSTANT: f64 = 1e-9;
/// More than these are as good as any number of them.
const MOST: u32 = 1000;

#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Clients {
    pub(super) number: u32,
    /// Between an answer and the next checkout, in seconds; more than zero.
    thinks: f64,
}

/// What so many connections are to them.
pub(super) struct Served {
    /// Checkouts a second.
    pub(super) rate: f64,
    /// The share of arrivals that find so many in the queue, or more: `behind[0]` have to queue.
    behind: Vec<f64>,
    /// Connections that come back in a second, when all are in use.
    full: f64,
}

impl Clients {
    /// None where arrivals do not seem to wait for each other's answers, or it cannot be told.
    pub(super) fn learn(load: &Load) -> Option<Self> {
        let size = load.limit?;
        let full = load.levels.get(Load::index_of(size))?;
        // Who is turned away leaves the queue short too.
        if full.completions < ENOUGH || load.unserved > 0 || !(size..=MOST).contains(&load.most) {
            return None;
        }
        let queued = f64::from(load.most - size);
        if queued * SHORTER > longest(load, full) {
            return None;
        }
        let number = load.most;
        // Little's law: they think for what is left of their round.
        let round = f64::from(number) / load.arrival_rate();
        let away = load.held.mean()? + load.queued.mean()?.as_secs_f64();
        let thinks = (round - away).max(INSTANT);
        thinks.is_finite().then_some(Self { number, thinks })
    }

    /// By so many connections, were there so many times the clients.
    pub(super) fn served(&self, size: u32, times: f64, curve: &Curve) -> Served {
        let number = f64::from(self.number) * times;
        let (fewer, part) = (number.floor(), number.fract());
        let mut served = self.of(fewer, size, curve);
        // A part of a client is there for a part of the time.
        if part > 0.0 {
            let more = self.of(fewer + 1.0, size, curve);
            let mix = |fewer: f64, more: f64| fewer + part * (more - fewer);
            served.rate = mix(served.rate, more.rate);
            served.behind.resize(more.behind.len(), 0.0);
            for (fewer, more) in served.behind.iter_mut().zip(more.behind) {
                *fewer = mix(*fewer, more);
            }
        }
        served
    }

    fn of(&self, number: f64, size: u32, curve: &Curve) -> Served {
        let full = curve.rate(size);
        let states = |number: f64| {
            let (mut weight, mut weights) = (1.0_f64, vec![1.0_f64]);
            let mut n = 0.0;
            while n < number {
                n += 1.0;
                let leaves = if n < f64::from(size) {
                    curve.rate(n as u32)
                } else {
                    full
                };
                weight *= (number - n + 1.0) / self.thinks / leaves;
                weights.push(weight);
                // Only ratios matter: none may grow out of what a float can hold.
                if weight > 1e200 {
                    weights.iter_mut().for_each(|other| *other /= weight);
                    weight = 1.0;
                }
            }
            let sum: f64 = weights.iter().sum();
            weights.iter_mut().for_each(|weight| *weight /= sum);
            weights
        };
        let rate = states(number)
            .iter()
            .enumerate()
            .map(|(n, share)| share * (number - n as f64) / self.thinks)
            .sum();
        let found = states((number - 1.0).max(0.0));
        let mut behind: Vec<f64> = found.into_iter().skip(size as usize).collect();
        // Of those who find so many the shares, from the most to the fewest.
        let mut sum = 0.0;
        for share in behind.iter_mut().rev() {
            sum += *share;
            *share = sum;
        }
        Served { rate, behind, full }
    }
}

impl Served {
    pub(super) fn queueing(&self) -> f64 {
        self.behind.first().copied().unwrap_or_default()
    }

    pub(super) fn mean(&self) -> f64 {
        self.behind.iter().sum::<f64>() / self.full
    }

    /// The wait that a share `q` of all arrivals do not exceed.
    pub(super) fn quantile(&self, q: f64) -> f64 {
        waits::quantile(q, self.mean(), |t| self.exceeding(t))
    }

    /// The share of arrivals that wait for longer: fewer than they have to wait for have come back.
    fn exceeding(&self, t: f64) -> f64 {
        let expected = self.full * t;
        // Of the Poisson distribution, by its logarithm: its first terms may be too small for a float.
        let mut log = -expected;
        let shares = self.behind.iter().enumerate().map(|(back, behind)| {
            if back > 0 {
                log += (expected / back as f64).ln();
            }
            behind * log.exp()
        });
        shares.sum::<f64>().clamp(0.0, 1.0)
    }
}

/// The longest queue to be expected of arrivals that wait for nobody: one of those that come beyond a
/// full pool, about as often as the queue settles, decays by their rate over the pool's.
fn longest(load: &Load, full: &AtLevel) -> f64 {
    let served = full.completions as f64 / full.seconds;
    let arrivals = load.arrivals as f64;
    // At its limit a queue wanders as far as the root of the steps.
    let ratio = (load.arrival_rate() / served).min(1.0 - 2.0 / arrivals.sqrt());
    let spare = 1.0 - ratio;
    let times = arrivals * full.seconds / load.seconds * spare * spare;
    (1.0 + times).ln() / -ratio.ln()
}

#[cfg(test)]
mod tests;
