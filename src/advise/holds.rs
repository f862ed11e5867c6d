//! What a hold spends its time on, at each level: the sign of what saturates.
//!
//! Where an application is slow, a hold takes as long whatever the level. Where a server saturates
//! or a lock is contended, the time in queries grows with the level and the time outside does not.
//!
//! The time of a hold is told by the mean level during it. Long holds see the average level, short
//! ones the extremes too, so the mean hold has a hump over the levels even where none depends on
//! the other: only what is longer at the top than half-way up grows.

use crate::observe::load::Load;

/// A level with fewer holds says nothing by itself.
const ENOUGH: u64 = 50;

/// Less growth than this is none.
const FLAT: f64 = 0.05;

/// A mean hold in seconds, of any application.
const POSSIBLE: std::ops::RangeInclusive<f64> = 1e-9..=1e6;

/// The mean hold at a level, in seconds.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct HoldAt {
    pub(crate) level: f64,
    pub(crate) holds: u64,
    pub(crate) held: f64,
    /// Of it, in queries and outside them; where it was measured.
    pub(crate) parts: Option<(f64, f64)>,
}

/// How much longer something takes at the top than half-way up, as a share; and whether that is
/// more than chance.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Growth {
    pub(crate) share: f64,
    pub(crate) certain: bool,
}

#[derive(Debug, Clone)]
pub(super) struct Holds {
    pub(super) at: Vec<HoldAt>,
    /// Mean of all, in seconds.
    pub(super) mean: f64,
    /// Squared variation of all.
    pub(super) variation: f64,
}

impl Holds {
    pub(super) fn learn(load: &Load) -> Option<Self> {
        let mean = load.held.mean().filter(|m| POSSIBLE.contains(m))?;
        let at = load
            .levels
            .iter()
            .enumerate()
            .filter(|(_, at)| at.holds >= ENOUGH && at.held.is_finite() && at.held > 0.0)
            .map(|(index, at)| {
                let holds = at.holds as f64;
                let share = at.busy / at.measured;
                let held = at.held / holds;
                HoldAt {
                    level: Load::level_of(index),
                    holds: at.holds,
                    held,
                    parts: (0.0..=1.0)
                        .contains(&share)
                        .then_some((held * share, held * (1.0 - share))),
                }
            })
            .filter(|at| at.level >= 1.0)
            .collect();
        Some(Self {
            at,
            mean,
            variation: load
                .held
                .squared_variation()
                .filter(|variation| variation.is_finite())
                .map_or(1.0, |variation| variation.clamp(0.05, 100.0)),
        })
    }

    /// The mean time outside queries, if it does not grow.
    pub(super) fn outside(&self) -> Option<f64> {
        if self.growth_outside().certain {
            return None;
        }
        let measured = || {
            self.at
                .iter()
                .filter_map(|at| Some((at.holds as f64, at.parts?.1)))
        };
        let holds: f64 = measured().map(|(holds, _)| holds).sum();
        (holds > 0.0).then(|| {
            measured()
                .map(|(holds, outside)| holds * outside)
                .sum::<f64>()
                / holds
        })
    }

    pub(super) fn growth(&self) -> Growth {
        self.growth_of(|at| Some(at.held))
    }

    pub(super) fn growth_in_queries(&self) -> Growth {
        self.growth_of(|at| at.parts.map(|parts| parts.0))
    }

    pub(super) fn growth_outside(&self) -> Growth {
        self.growth_of(|at| at.parts.map(|parts| parts.1))
    }

    /// Between half of the highest level, and the highest: each with its neighbours, until they are
    /// a tenth of all.
    fn growth_of(&self, of: impl Fn(&HoldAt) -> Option<f64>) -> Growth {
        let none = Growth {
            share: 0.0,
            certain: false,
        };
        let at: Vec<(f64, f64, f64)> = self
            .at
            .iter()
            .filter_map(|at| Some((at.level, at.holds as f64, of(at)?)))
            .collect();
        let Some(top) = at.last().map(|at| at.0) else {
            return none;
        };
        let all: f64 = at.iter().map(|at| at.1).sum();
        let band = |around: f64| {
            let mut near = at.clone();
            near.sort_by(|a, b| (a.0 - around).abs().total_cmp(&(b.0 - around).abs()));
            let (mut holds, mut sum, mut level) = (0.0, 0.0, 0.0);
            for (at, weight, value) in near {
                if holds >= all / 10.0 {
                    break;
                }
                holds += weight;
                sum += weight * value;
                level += weight * at;
            }
            (holds, sum / holds, level / holds)
        };
        let (half, full) = (band(top / 2.0), band(top));
        let share = full.1 / half.1 - 1.0;
        let noise = (self.variation * (1.0 / half.0 + 1.0 / full.0)).sqrt();
        if !share.is_finite() || full.2 <= half.2 {
            return none;
        }
        Growth {
            share,
            certain: share > FLAT + 2.0 * noise,
        }
    }
}
