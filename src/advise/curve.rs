//! How many connections come back in a second, by how many are in use: learned, smoothed, extended.

use super::holds::Holds;
use super::law::{Law, Point};
use crate::observe::load::Load;

/// A level seen less often says nothing by itself.
const ENOUGH: u64 = 50;

/// The law's rates count as so many completions at every level, at least: what a level must have
/// seen to be believed as much as the law.
const PRIOR: f64 = 200.0;

/// From this variation of the holds on, the rate at a level is told by what comes back from it, if
/// the time in queries was not measured.
const FORGETFUL: f64 = 0.4;

/// A level this close to the highest rate keeps what saturates busy.
const SATURATED: f64 = 0.9;

#[derive(Debug, Clone, Copy)]
struct Surplus {
    seen: f64,
    lasting: f64,
    weight: f64,
}

/// The rate at each level.
#[derive(Debug, Clone)]
pub(crate) struct Curve {
    /// `rates[n - 1]` at level `n`.
    rates: Vec<f64>,
    law: Law,
    /// What comes back from the levels near the highest rate over what they let through for long.
    surplus: Vec<Surplus>,
    /// What the law is scaled by beyond the levels seen, so that it joins them.
    joint: f64,
}

impl Curve {
    /// None if no level was seen often enough.
    pub(super) fn learn(load: &Load, holds: &Holds) -> Option<Self> {
        let points: Vec<Point> = load
            .levels
            .iter()
            .enumerate()
            .filter(|(_, at)| at.completions >= ENOUGH && at.seconds > 0.0)
            .map(|(index, at)| Point {
                level: Load::level_of(index),
                rate: at.completions as f64 / at.seconds,
                completions: at.completions as f64,
            })
            .filter(|p| p.level >= 1.0 && (1e-9..=1e12).contains(&p.rate))
            .collect();
        let last = points.last()?.level.min(MOST) as usize;
        let law = Law::fit(&points)?;
        // Where holds take as long at every level, the rates are a straight line by Little's law,
        // whatever came back from where in a burst.
        if law.is_straight() || !holds.growth().certain {
            let law = Law::straight(holds.mean);
            return Some(Self {
                rates: (1..=last).map(|level| law.rate(level as f64)).collect(),
                law,
                surplus: Vec::new(),
                joint: 1.0,
            });
        }
        let lasting: Vec<Point> = points.iter().map(|p| also_by_holds(p, holds)).collect();
        let law = Law::fit(&lasting)?;
        let mut curve = Self::through(&lasting, law, last)?;
        let most = curve.most();
        curve.surplus = points
            .iter()
            .map(|p| Surplus {
                seen: p.rate,
                lasting: curve.rate(p.level as u32),
                weight: p.completions,
            })
            .filter(|s| s.lasting > SATURATED * most)
            .collect();
        Some(curve)
    }

    fn through(points: &[Point], law: Law, last: usize) -> Option<Self> {
        let prior = PRIOR.max(1.0 / scatter(points, &law));
        let ratios: Vec<(f64, f64, f64)> = points
            .iter()
            .map(|p| {
                let weight = p.completions / (p.completions + prior);
                let ratio = (p.rate / law.rate(p.level)).powf(weight);
                (p.level, ratio, p.completions + prior)
            })
            .collect();
        let rates: Vec<f64> = (1..=last)
            .map(|level| law.rate(level as f64) * between(&ratios, level as f64))
            .collect();
        let weights: Vec<f64> = (1..=last)
            .map(|level| {
                let at = ratios.iter().find(|r| r.0 as usize == level);
                at.map_or(1.0, |r| r.2)
            })
            .collect();
        let rates = unimodal(&rates, &weights, law.peak());
        if rates.iter().any(|rate| !(rate.is_finite() && *rate > 0.0)) {
            return None;
        }
        let joint = rates.last()? / law.rate(last as f64);
        Some(Self {
            rates,
            law,
            surplus: Vec::new(),
            joint,
        })
    }

    /// Connections that come back in a second with so many in use; more than zero.
    pub(crate) fn rate(&self, level: u32) -> f64 {
        let level = level.max(1);
        match self.rates.get(level as usize - 1) {
            Some(rate) => *rate,
            None => self.joint * self.law.rate(f64::from(level)),
        }
    }

    /// The highest level that was seen often enough.
    pub(crate) fn seen(&self) -> u32 {
        u32::try_from(self.rates.len()).unwrap_or(u32::MAX)
    }

    /// The highest rate of all, and the first level that comes within so much of it; none where
    /// the rate grows without end.
    pub(crate) fn saturates(&self, within: f64) -> Option<(f64, u32)> {
        if self.law.is_straight() {
            return None;
        }
        let most = self.most();
        let reached = |level: &u32| self.rate(*level) >= most * (1.0 - within);
        let first = (1..=MOST as u32).find(reached)?;
        Some((most, first))
    }

    fn most(&self) -> f64 {
        let seen = self.rates.iter().copied().fold(0.0, f64::max);
        if self.falls() {
            seen
        } else {
            seen.max(self.joint / self.law.turn)
        }
    }

    /// How busy so many keep what saturates; 0 if nothing does.
    pub(super) fn busy(&self, level: u32) -> f64 {
        if self.law.is_straight() {
            0.0
        } else {
            (self.rate(level) / self.most()).clamp(0.0, 1.0)
        }
    }

    /// The squared variation of what saturates, told from how much faster the high levels are left
    /// than for long, by arrivals at this rate. The chance of a level falls from one to the next by
    /// `ρ^(2 / (1 + variation))` about, which is what the rates seen give as `λ / μ(n)`.
    pub(super) fn variation(&self, arrivals: f64) -> Option<f64> {
        let (mut sum, mut weights) = (0.0, 0.0);
        for s in &self.surplus {
            if s.lasting > arrivals * 1.1 {
                sum += s.weight * (s.seen / arrivals).ln() / (s.lasting / arrivals).ln();
                weights += s.weight;
            }
        }
        let power = sum / weights;
        (power.is_finite() && power > 0.0).then(|| (2.0 / power - 1.0).clamp(0.05, 1.0))
    }

    pub(crate) fn falls(&self) -> bool {
        self.law.peak().is_finite()
    }

    /// The level beyond which the rate falls.
    pub(crate) fn peak(&self) -> u32 {
        if !self.falls() {
            return u32::MAX;
        }
        let mut best = 0;
        for (index, rate) in self.rates.iter().enumerate() {
            if *rate > self.rates[best] {
                best = index;
            }
        }
        u32::try_from(best + 1).unwrap_or(u32::MAX)
    }

    /// The time that a hold takes with nobody else's in its way, in seconds.
    pub(super) fn alone(&self) -> f64 {
        1.0 / self.rate(1)
    }

    pub(super) fn is_straight(&self) -> bool {
        self.law.is_straight()
    }
}

/// By Little's law a level's rate also is the level over its mean hold. That mean is biased where
/// holds vary: short ones see the extreme levels. Where the time in queries was measured, it alone
/// is taken from the level, and the time outside from all holds, as it is the same at each; what
/// bias is left is that of the queries' own variation, which is at most their share of the holds'.
/// The more there is of it, the more is told by what comes back from the level.
///
/// Completions alone would not do: with a lock that is always held for as long, a level is high
/// because many came just now, and soon many leave it, more than the lock lets through for long.
fn also_by_holds(point: &Point, holds: &Holds) -> Point {
    let Some(at) = holds.at.iter().find(|at| at.level == point.level) else {
        return *point;
    };
    let (held, trust) = match (at.parts, holds.outside()) {
        (Some((in_queries, _)), Some(outside)) => (
            in_queries + outside,
            holds.variation.min(1.0) * (1.0 - outside / holds.mean).clamp(0.0, 1.0),
        ),
        _ => (at.held, (holds.variation / FORGETFUL).min(1.0)),
    };
    Point {
        rate: point.rate.powf(trust) * (at.level / held).powf(1.0 - trust),
        ..*point
    }
}

/// Further up than any pool goes, so that one odd entry does not ask for all memory.
const MOST: f64 = 65_536.0;

/// How much the levels differ from the law beyond the noise of counting: the variance of their
/// relative differences (the method of moments of DerSimonian and Laird, 1986).
fn scatter(points: &[Point], law: &Law) -> f64 {
    let (mut sum, mut squares, mut excess) = (0.0, 0.0, 0.0);
    for p in points {
        let off = p.rate / law.rate(p.level) - 1.0;
        sum += p.completions;
        squares += p.completions * p.completions;
        excess += p.completions * off * off - 1.0;
    }
    let of = sum - squares / sum;
    if of > 0.0 && excess.is_finite() {
        (excess / of).max(1e-6)
    } else {
        1e-6
    }
}

/// The ratio at a level, on a straight line between the two that are known.
fn between(ratios: &[(f64, f64, f64)], level: f64) -> f64 {
    let after = ratios.partition_point(|r| r.0 < level);
    match (after.checked_sub(1).map(|i| ratios[i]), ratios.get(after)) {
        (Some(a), Some(b)) => a.1 + (b.1 - a.1) * (level - a.0) / (b.0 - a.0),
        (Some(only), None) => only.1,
        (None, Some(only)) => only.1,
        (None, None) => 1.0,
    }
}

/// Rises up to the peak and falls after it: what contradicts that is noise, and would make a
/// connection more seem to wait longer. By pooling adjacent violators.
fn unimodal(rates: &[f64], weights: &[f64], peak: f64) -> Vec<f64> {
    let split = (peak.min(rates.len() as f64) as usize).min(rates.len());
    let mut rising = isotonic(
        rates[..split].iter().copied(),
        weights[..split].iter().copied(),
    );
    let mut falling = isotonic(
        rates[split..].iter().rev().copied(),
        weights[split..].iter().rev().copied(),
    );
    falling.reverse();
    rising.append(&mut falling);
    rising
}

fn isotonic(rates: impl Iterator<Item = f64>, weights: impl Iterator<Item = f64>) -> Vec<f64> {
    let mut pools: Vec<(f64, f64, usize)> = Vec::new();
    for (rate, weight) in rates.zip(weights) {
        let mut pool = (rate, weight, 1);
        while let Some(last) = pools.last().filter(|last| last.0 > pool.0) {
            let together = last.1 + pool.1;
            pool = (
                (last.0 * last.1 + pool.0 * pool.1) / together,
                together,
                last.2 + pool.2,
            );
            pools.pop();
        }
        pools.push(pool);
    }
    pools
        .into_iter()
        .flat_map(|(rate, _, levels)| std::iter::repeat_n(rate, levels))
        .collect()
}
