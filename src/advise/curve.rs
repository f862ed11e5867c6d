//! How many connections come back in a second, by how many are in use: learned, smoothed, extended.

use super::usl::{Point, Usl};
use crate::observe::load::Load;

/// A level seen less often says nothing by itself.
const ENOUGH: u64 = 50;

/// The law's rates count as so many completions at every level: what a level must have seen to be
/// believed as much as the law.
const PRIOR: f64 = 200.0;

/// The rate at each level.
#[derive(Debug, Clone)]
pub(crate) struct Curve {
    /// `rates[n - 1]` at level `n`.
    rates: Vec<f64>,
    law: Usl,
    /// What the law is scaled by beyond the levels seen, so that it joins them.
    joint: f64,
}

impl Curve {
    /// None if no level was seen often enough.
    pub(super) fn learn(load: &Load) -> Option<Self> {
        let points: Vec<Point> = load
            .levels
            .iter()
            .enumerate()
            .filter(|(_, at)| at.completions >= ENOUGH && at.seconds > 0.0)
            .map(|(index, at)| Point {
                level: level_at(index),
                rate: at.completions as f64 / at.seconds,
                completions: at.completions as f64,
            })
            .filter(|p| p.level >= 1.0 && p.rate.is_finite() && p.rate > 0.0)
            .collect();
        Self::through(&points)
    }

    pub(super) fn through(points: &[Point]) -> Option<Self> {
        let law = Usl::fit(points)?;
        let prior = PRIOR.max(1.0 / scatter(points, &law));
        let ratios: Vec<(f64, f64, f64)> = points
            .iter()
            .map(|p| {
                let weight = p.completions / (p.completions + prior);
                let ratio = (p.rate / law.rate(p.level)).powf(weight);
                (p.level, ratio, p.completions + prior)
            })
            .collect();
        let last = points.last()?.level.min(MOST) as usize;
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
        Some(Self { rates, law, joint })
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

    pub(crate) fn law(&self) -> Usl {
        self.law
    }
}

/// Further up than any pool goes, so that one odd entry does not ask for all memory.
const MOST: f64 = 65_536.0;

/// The level that an entry of [`Load::levels`] is about.
pub(super) fn level_at(index: usize) -> f64 {
    index as f64
}

/// How much the levels differ from the law beyond the noise of counting: the variance of their
/// relative differences (the method of moments of DerSimonian and Laird, 1986).
fn scatter(points: &[Point], law: &Usl) -> f64 {
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
