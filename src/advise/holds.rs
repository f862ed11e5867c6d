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

/// How much longer a hold, or a part of it, takes at the top than half-way up, in seconds; and whether
/// that is more than chance, as a share of the hold.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Growth {
    pub(super) by: f64,
    pub(super) certain: bool,
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

    /// Between half of the highest level, and the highest.
    fn growth_of(&self, of: impl Fn(&HoldAt) -> Option<f64>) -> Growth {
        let none = Growth {
            by: 0.0,
            certain: false,
        };
        let at: Vec<(&HoldAt, f64)> = self
            .at
            .iter()
            .filter_map(|at| Some((at, of(at)?)))
            .collect();
        let Some(top) = at.last().map(|(at, _)| at.level) else {
            return none;
        };
        let (half, full) = (Band::around(top / 2.0, &at), Band::around(top, &at));
        let by = full.value - half.value;
        let noise = (self.variation * (1.0 / half.holds + 1.0 / full.holds)).sqrt();
        if !by.is_finite() || full.level <= half.level {
            return none;
        }
        Growth {
            by,
            certain: by > (FLAT + 2.0 * noise) * half.held,
        }
    }
}

/// Means of some levels.
struct Band {
    level: f64,
    holds: f64,
    held: f64,
    value: f64,
}

impl Band {
    /// Of a level and its neighbours, until they are a tenth of all holds.
    fn around(level: f64, at: &[(&HoldAt, f64)]) -> Self {
        let all: f64 = at.iter().map(|(at, _)| at.holds as f64).sum();
        let mut near = at.to_vec();
        let off = |at: &HoldAt| (at.level - level).abs();
        near.sort_by(|a, b| off(a.0).total_cmp(&off(b.0)));
        let mut sum = Self {
            level: 0.0,
            holds: 0.0,
            held: 0.0,
            value: 0.0,
        };
        for (at, value) in near {
            if sum.holds >= all / 10.0 {
                break;
            }
            let holds = at.holds as f64;
            sum.level += holds * at.level;
            sum.holds += holds;
            sum.held += holds * at.held;
            sum.value += holds * value;
        }
        Self {
            level: sum.level / sum.holds,
            held: sum.held / sum.holds,
            value: sum.value / sum.holds,
            ..sum
        }
    }
}
