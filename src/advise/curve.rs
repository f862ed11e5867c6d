//! How many connections come back in a second, by how many are in use: learned, smoothed, extended.

use super::holds::Holds;
use super::lasting::Lasting;
use super::law::{Law, Point};
use super::returns::Returns;
use super::smooth::{Pool, between, unimodal};
use crate::observe::load::Load;

/// A level seen less often says nothing by itself.
const ENOUGH: u64 = 50;

/// The law's rates count as so many completions at every level, at least: what a level must have
/// seen to be believed as much as the law.
const PRIOR: f64 = 200.0;

/// Further up than any pool goes, so that one odd entry does not ask for all memory.
const MOST: f64 = 65_536.0;

/// What is supposed of turns where nothing is known of them: most of what saturates is a lock.
const USUAL_TURNS: f64 = 0.75;
/// With more room for arrivals than at the time, a level is left faster; so many times at most.
const ROOMIEST: f64 = 3.0;

/// The rate at each level.
#[derive(Debug, Clone)]
pub(crate) struct Curve {
    /// `rates[n - 1]` at level `n`.
    rates: Vec<f64>,
    law: Law,
    /// What the law is scaled by beyond the levels seen, so that it joins them.
    joint: f64,
    /// The highest rate of all. Every level of a chain asks for it.
    most: f64,
    /// None if nothing is in the way of a hold.
    station: Option<Station>,
}

/// What those in use wait for: a lock, or the server's processors.
#[derive(Debug, Clone)]
pub(super) struct Station {
    /// Squared variation of what it lets through, if it is known.
    pub(super) variation: Option<f64>,
    /// How far those in use take turns at it, from 0 (they share it) to 1 (one after the other), if
    /// that is known.
    pub(super) turns: Option<f64>,
    /// By which factor a level, from 1 on, was left faster than connections come back for long, with
    /// fewer in use than allowed; and how many arrived then, per second.
    haste: Vec<f64>,
    arrivals: f64,
}

impl Station {
    /// By chance, if it is not known.
    pub(super) fn supposed_variation(&self) -> f64 {
        self.variation.unwrap_or(1.0)
    }

    pub(super) fn supposed_turns(&self) -> f64 {
        self.turns.unwrap_or(USUAL_TURNS)
    }
}

impl Curve {
    /// None if no level was seen often enough.
    pub(super) fn learn(load: &Load, holds: &Holds) -> Option<Self> {
        let seen = seen(load);
        let last = seen.last()?.level.min(MOST) as usize;
        // Where holds take as long at every level, the rates are a straight line by Little's law,
        // whatever came back from where in a burst.
        if !holds.growth().certain {
            return Some(Self::straight(holds.mean, last));
        }
        let returns = Returns::learn(load);
        let full = load.limit.map_or(f64::INFINITY, f64::from);
        let turns = returns
            .as_ref()
            .and_then(|returns| returns.turns(&seen, full, load.arrival_rate()));
        let lasting = Lasting {
            holds,
            returns: returns.as_ref(),
            turns,
            full,
            often_full: share_at(&seen, full),
        };
        let points: Vec<Point> = seen.iter().map(|p| lasting.at(p)).collect();
        let law = Law::fit(&points)?;
        if law.is_straight() {
            return Some(Self::straight(holds.mean, last));
        }
        let mut curve = Self::through(&points, law, last)?;
        curve.station = Some(Station {
            variation: returns.map(|returns| returns.variation(turns.unwrap_or(USUAL_TURNS))),
            turns,
            haste: curve.haste(&seen, full),
            arrivals: load.arrival_rate(),
        });
        Some(curve)
    }

    pub(super) fn straight(held: f64, last: usize) -> Self {
        let law = Law::straight(held);
        Self {
            rates: (1..=last).map(|level| law.rate(level as f64)).collect(),
            law,
            joint: 1.0,
            most: f64::INFINITY,
            station: None,
        }
    }

    fn through(points: &[Point], law: Law, last: usize) -> Option<Self> {
        let prior = PRIOR.max(1.0 / scatter(points, &law));
        let ratios: Vec<(f64, f64)> = points
            .iter()
            .map(|p| (p.level, off(p, law.rate(p.level), prior)))
            .collect();
        let weight = |level: f64| {
            let at = points.iter().find(|p| p.level.floor() == level);
            at.map_or(1.0, |p| p.completions + prior)
        };
        let pools: Vec<Pool> = (1..=last)
            .map(|level| level as f64)
            .map(|level| Pool {
                rate: law.rate(level) * between(&ratios, level).unwrap_or(1.0),
                weight: weight(level),
            })
            .collect();
        let rates = unimodal(&pools, law.peak());
        if rates.iter().any(|rate| !(rate.is_finite() && *rate > 0.0)) {
            return None;
        }
        let joint = rates.last()? / law.rate(last as f64);
        let seen = rates.iter().copied().fold(0.0, f64::max);
        let most = match law.peak().is_finite() {
            true => seen,
            false => seen.max(joint / law.turn),
        };
        Some(Self {
            rates,
            law,
            joint,
            most,
            station: None,
        })
    }

    /// By how much faster the levels below the limit were left.
    fn haste(&self, seen: &[Point], full: f64) -> Vec<f64> {
        let known: Vec<(f64, f64)> = seen
            .iter()
            .filter(|p| p.level < full)
            .map(|p| {
                let haste = off(p, self.rate(p.level as u32), PRIOR);
                // A full pool has one less just after one came back, and then it takes a while.
                let after_full = p.level == full - 1.0;
                (p.level, if after_full { haste.max(1.0) } else { haste })
            })
            .collect();
        let last = known.last().map_or(0.0, |known| known.0.min(MOST));
        (1..=last as u32)
            .map(|level| between(&known, f64::from(level)).unwrap_or(1.0))
            .collect()
    }

    /// Connections that come back in a second with so many in use; more than zero.
    pub(crate) fn rate(&self, level: u32) -> f64 {
        let level = level.max(1);
        match self.rates.get(level as usize - 1) {
            Some(rate) => *rate,
            None => self.joint * self.law.rate(f64::from(level)),
        }
    }

    /// The rate by which each level is left while so many arrive a second, and more would be
    /// allowed.
    pub(crate) fn left(&self, arrivals: f64) -> impl Fn(u32) -> f64 + Copy {
        let station = self.station.as_ref().map(|station| {
            // The more there is to spare, the more; and none where there is nothing.
            let most = self.most;
            let roomier = (most / arrivals).ln() / (most / station.arrivals).ln();
            let roomier = if roomier.is_finite() { roomier } else { 1.0 };
            (station, roomier.clamp(0.0, ROOMIEST))
        });
        move |level| {
            let rate = self.rate(level);
            let Some((station, roomier)) = station else {
                return rate;
            };
            let seen = station.haste.get(level.max(1) as usize - 1);
            let haste = seen.or(station.haste.last()).copied().unwrap_or(1.0);
            // Where more is served than arrives, no level fills up further by itself.
            (rate * haste.powf(roomier)).max(arrivals.min(rate))
        }
    }

    /// The highest level that was seen often enough.
    pub(crate) fn seen(&self) -> u32 {
        u32::try_from(self.rates.len()).unwrap_or(u32::MAX)
    }

    /// The highest rate of all, and the first level that comes within so much of it; none where
    /// the rate grows without end.
    pub(crate) fn saturates(&self, within: f64) -> Option<(f64, u32)> {
        if self.is_straight() {
            return None;
        }
        let most = self.most;
        let reached = |level: &u32| self.rate(*level) >= most * (1.0 - within);
        let first = (1..=MOST as u32).find(reached)?;
        Some((most, first))
    }

    /// What those in use wait for; none where nothing is in the way.
    pub(super) fn station(&self) -> Option<&Station> {
        self.station.as_ref()
    }

    /// How busy so many keep it.
    pub(super) fn busy(&self, level: u32) -> f64 {
        (self.rate(level) / self.most).clamp(0.0, 1.0)
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

/// What came back from each level that was seen often enough.
fn seen(load: &Load) -> Vec<Point> {
    load.levels
        .iter()
        .enumerate()
        .filter(|(_, at)| at.completions >= ENOUGH && at.seconds > 0.0)
        .map(|(index, at)| Point {
            level: Load::level_of(index),
            rate: at.completions as f64 / at.seconds,
            completions: at.completions as f64,
        })
        .filter(|p| p.level >= 1.0 && (1e-9..=1e12).contains(&p.rate))
        .collect()
}

/// The share of all completions that came from this level.
fn share_at(seen: &[Point], level: f64) -> f64 {
    let all: f64 = seen.iter().map(|p| p.completions).sum();
    let at = seen.iter().filter(|p| p.level == level);
    at.map(|p| p.completions).sum::<f64>() / all
}

/// By which factor a point is off a rate, as far as it is believed.
fn off(point: &Point, rate: f64, prior: f64) -> f64 {
    let weight = point.completions / (point.completions + prior);
    (point.rate / rate).powf(weight)
}

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
