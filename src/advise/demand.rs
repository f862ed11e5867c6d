//! How arrivals come: their rate from block to block, and their bursts within one.
//!
//! Counted in bins of length `t`, the variance over the mean (the index of dispersion, see W. Whitt,
//! *Approximating a point process by a renewal process*, 1982, and H. Heffes and D. Lucantoni,
//! *A Markov modulated characterization of packetized voice*, 1986) of arrivals whose rate varies
//! with variance `v` and forgets itself at rate `θ` is `1 + (2v/mθ) (1 - (1 - exp(-θt))/θt)`; a rate
//! that hardly changes within `t` adds `vt/m`. Both are fitted to the dispersion at every length.

use super::chain::Phases;
use crate::observe::load::{Block, Load};

/// Bounds of what is believed of a squared variation.
const LEAST: f64 = 0.05;
const MOST: f64 = 100.0;

/// Beyond so many blocks they are taken together.
const BLOCKS: usize = 4096;

/// No load was observed for this long, in seconds.
const LONGEST: f64 = 1e9;

/// Arrivals a second, of any application.
const POSSIBLE: std::ops::RangeInclusive<f64> = 1e-6..=1e12;

/// What a burst must explain of the squared error, in units of the noise of counting.
const WORTH: f64 = 6.0;

/// The slowest rate at which bursts forget themselves, per second: slower ones are in the blocks. If
/// the blocks show none of them, they come and go within one, and as often in each.
const SLOWEST: f64 = 0.5;
const PERIODIC: f64 = 2.0;

/// Nobody's rate varies more.
const EXTREME: f64 = 1e6;

/// Counting is never believed better than this.
const EXACTNESS: f64 = 0.02;

#[derive(Debug, Clone)]
pub(super) struct Demand {
    /// Arrivals per second.
    pub(super) rate: f64,
    /// Seconds observed.
    pub(super) seconds: f64,
    /// The blocks in their order: seconds, and the rate over the mean rate.
    pub(super) blocks: Vec<(f64, f64)>,
    pub(super) bursts: Option<Bursts>,
    /// Variance over mean of the counts, by the length of the bins.
    dispersion: Vec<Seen>,
}

/// A rate that varies within a block.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Bursts {
    /// Variance of the rate over its squared mean.
    pub(super) variation: f64,
    /// How fast it forgets itself, per second.
    pub(super) forgets: f64,
}

#[derive(Debug, Clone, Copy)]
struct Seen {
    seconds: f64,
    dispersion: f64,
    bins: f64,
}

impl Bursts {
    /// Two rates with that variation around `rate`: as even as the variation allows, for the lower
    /// one cannot be negative.
    pub(super) fn phases(&self, rate: f64) -> Phases {
        let share = (1.0 / (1.0 + self.variation)).min(0.5);
        let low = (1.0 - (self.variation * share / (1.0 - share)).sqrt()).max(0.0);
        let high = 1.0 + (self.variation * (1.0 - share) / share).sqrt();
        Phases {
            rates: [rate * low, rate * high],
            left: [self.forgets * share, self.forgets * (1.0 - share)],
        }
    }

    fn dispersion(&self, rate: f64, seconds: f64) -> f64 {
        1.0 + 2.0 * self.variation * rate / self.forgets * risen(self.forgets * seconds)
    }
}

impl Demand {
    /// None without a rate.
    pub(super) fn learn(load: &Load) -> Option<Self> {
        let rate = load.arrival_rate();
        if !POSSIBLE.contains(&rate) || load.seconds >= LONGEST {
            return None;
        }
        let blocks: Vec<&Block> = load
            .blocks
            .iter()
            .filter(|b| b.seconds > 0.0 && b.seconds < LONGEST)
            .take(BLOCKS)
            .collect();
        let mut dispersion: Vec<Seen> = load
            .counts
            .iter()
            .zip(Load::BINS)
            .filter_map(|(counts, length)| {
                let bins = counts.bins as f64;
                Some(Seen {
                    seconds: length.as_secs_f64(),
                    dispersion: counts.dispersion()? * bins / (bins - 1.0),
                    bins,
                })
            })
            .collect();
        let between_blocks = of_blocks(&blocks);
        let widest = dispersion.last().map_or(1.0, |seen| seen.dispersion);
        // Blocks that vary less than what is within them: it comes and goes as often in each, and
        // no rate changes from one to the next.
        let steady = between_blocks.is_none_or(|seen| seen.dispersion < widest);
        dispersion.extend(between_blocks.filter(|_| !steady));
        dispersion.retain(|seen| seen.dispersion.is_finite() && seen.bins > 1.0);
        let (bursts, slow) = explain(rate, &dispersion, steady);
        Some(Self {
            rate,
            seconds: load.seconds,
            blocks: without_noise(&blocks, slow),
            bursts,
            dispersion,
        })
    }

    /// Neither bursts nor blocks that differ by much.
    pub(super) fn is_even(&self) -> bool {
        let even = |(_, rate): &(f64, f64)| (0.9..1.1).contains(rate);
        self.bursts.is_none() && self.blocks.iter().all(even)
    }

    /// The index of dispersion in the long run, what varies from block to block left out.
    pub(super) fn lasting_variation(&self) -> f64 {
        match &self.bursts {
            Some(bursts) => bursts.dispersion(self.rate, f64::INFINITY).max(1.0),
            None => 1.0,
        }
    }

    /// The index of dispersion at this length, on a line through those seen in the logarithm of the
    /// length; what varies from block to block is left out.
    pub(super) fn variation(&self, seconds: f64) -> f64 {
        if let Some(bursts) = &self.bursts {
            return bursts.dispersion(self.rate, seconds).clamp(LEAST, MOST);
        }
        let seen = &self.dispersion;
        let after = seen.partition_point(|s| s.seconds < seconds);
        let found = match (after.checked_sub(1).map(|i| seen[i]), seen.get(after)) {
            (Some(a), Some(b)) => {
                let along = (seconds / a.seconds).ln() / (b.seconds / a.seconds).ln();
                a.dispersion + (b.dispersion - a.dispersion) * along
            }
            (Some(only), None) => only.dispersion,
            (None, Some(only)) => only.dispersion,
            (None, None) => 1.0,
        };
        if found.is_finite() {
            found.clamp(LEAST, 1.0)
        } else {
            1.0
        }
    }
}

/// How much of a fluctuation is seen in bins of its own time scale times `x`.
fn risen(x: f64) -> f64 {
    if x < 1e-6 {
        x / 2.0
    } else {
        1.0 + (-x).exp_m1() / x
    }
}

/// The dispersion of the blocks' counts.
fn of_blocks(blocks: &[&Block]) -> Option<Seen> {
    let seconds: f64 = blocks.iter().map(|b| b.seconds).sum();
    let arrivals: f64 = blocks.iter().map(|b| b.arrivals as f64).sum();
    let (rate, bins) = (arrivals / seconds, blocks.len() as f64);
    (bins > 1.0 && rate > 0.0).then(|| Seen {
        seconds: seconds / bins,
        dispersion: blocks
            .iter()
            .map(|b| (b.arrivals as f64 - rate * b.seconds).powi(2) / (rate * b.seconds))
            .sum::<f64>()
            / (bins - 1.0),
        bins,
    })
}

/// What bursts there are, and by how much the dispersion grows with a second more because the rate
/// itself changes slowly.
fn explain(rate: f64, seen: &[Seen], steady: bool) -> (Option<Bursts>, f64) {
    let none = fit(seen, None, steady);
    let best = (0..=40_i32)
        .map(|step| SLOWEST * 10_f64.powf(f64::from(step) / 9.0))
        .map(|forgets| (forgets, fit(seen, Some(forgets), steady)))
        .min_by(|a, b| a.1.error.total_cmp(&b.1.error));
    match best {
        Some((forgets, best)) if best.fast > 0.0 && best.error + WORTH < none.error => {
            let variation = best.fast * forgets / (2.0 * rate);
            let bursts = Bursts {
                variation,
                forgets: if steady {
                    forgets.max(PERIODIC)
                } else {
                    forgets
                },
            };
            let possible = variation > 0.0 && variation < EXTREME;
            (possible.then_some(bursts), best.slow)
        }
        _ => (None, none.slow),
    }
}

#[derive(Debug, Clone, Copy)]
struct Fit {
    fast: f64,
    slow: f64,
    error: f64,
}

/// The dispersion beyond 1 at one length, and what a unit of each cause adds to it.
struct Row {
    weight: f64,
    fast: f64,
    slow: f64,
    beyond: f64,
}

/// Least squares of the dispersion beyond 1 by its two causes, neither of which is negative.
fn fit(seen: &[Seen], forgets: Option<f64>, steady: bool) -> Fit {
    let mut found = Fit {
        fast: 0.0,
        slow: 0.0,
        error: 0.0,
    };
    for round in 0..4 {
        let rows: Vec<Row> = seen
            .iter()
            .map(|s| {
                let fast = forgets.map_or(0.0, |f| risen(f * s.seconds));
                let fitted = 1.0 + found.fast * fast + found.slow * s.seconds;
                let size = if round == 0 {
                    s.dispersion.max(1.0)
                } else {
                    fitted
                };
                let noise = size * size * (2.0 / s.bins + EXACTNESS * EXACTNESS);
                Row {
                    weight: 1.0 / noise,
                    fast,
                    slow: s.seconds,
                    beyond: s.dispersion - 1.0,
                }
            })
            .collect();
        let sum = |of: fn(&Row) -> f64| rows.iter().map(|r| r.weight * of(r)).sum::<f64>();
        let (xx, xt, tt) = (
            sum(|r| r.fast * r.fast),
            sum(|r| r.fast * r.slow),
            sum(|r| r.slow * r.slow),
        );
        let (xy, ty) = (sum(|r| r.fast * r.beyond), sum(|r| r.slow * r.beyond));
        let determinant = xx * tt - xt * xt;
        let both = (
            (xy * tt - ty * xt) / determinant,
            (ty * xx - xy * xt) / determinant,
        );
        let alone = [(xy / xx, 0.0), (0.0, ty / tt), (0.0, 0.0)];
        let error = |(fast, slow): (f64, f64)| {
            rows.iter()
                .map(|r| r.weight * (r.beyond - fast * r.fast - slow * r.slow).powi(2))
                .sum::<f64>()
        };
        let best = std::iter::once(both)
            .chain(alone)
            .filter(|(fast, slow)| {
                let possible = |figure: f64| figure.is_finite() && figure >= 0.0;
                possible(*fast) && possible(*slow) && !(steady && *slow > 0.0)
            })
            .map(|figures| (figures, error(figures)))
            .min_by(|a, b| a.1.total_cmp(&b.1));
        if let Some(((fast, slow), error)) = best {
            found = Fit { fast, slow, error };
        }
    }
    found
}

/// The blocks' rates over their mean, drawn to it until they vary only as much as the rate does.
fn without_noise(blocks: &[&Block], slow: f64) -> Vec<(f64, f64)> {
    let seconds: f64 = blocks.iter().map(|b| b.seconds).sum();
    let arrivals: f64 = blocks.iter().map(|b| b.arrivals as f64).sum();
    let mean = arrivals / seconds;
    if !(mean.is_finite() && mean > 0.0) {
        return Vec::new();
    }
    let rates = || {
        blocks
            .iter()
            .map(|b| (b.seconds, b.arrivals as f64 / b.seconds / mean))
    };
    let variance: f64 = rates().map(|(s, r)| s * (r - 1.0).powi(2)).sum::<f64>() / seconds;
    let wanted = slow / mean;
    let keep = if variance > 0.0 {
        (wanted / variance).clamp(0.0, 1.0).sqrt()
    } else {
        0.0
    };
    rates().map(|(s, r)| (s, 1.0 + keep * (r - 1.0))).collect()
}
