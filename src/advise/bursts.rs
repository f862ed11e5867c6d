//! Bursts: a rate that varies within a few seconds, told from how unevenly arrivals are counted.
//!
//! Counted in bins of length `t`, the variance over the mean (the index of dispersion, see W. Whitt,
//! *Approximating a point process by a renewal process*, 1982, and H. Heffes and D. Lucantoni,
//! *A Markov modulated characterization of packetized voice*, 1986) of arrivals whose rate varies
//! with variance `v` and forgets itself at rate `θ` is `1 + (2v/mθ) (1 - (1 - exp(-θt))/θt)`; a rate
//! that hardly changes within `t` adds `vt/m`. Both are fitted to the dispersion at every length.

use super::chain::Phases;

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

/// A rate that varies within a block.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Bursts {
    /// Variance of the rate over its squared mean.
    pub(super) variation: f64,
    /// How fast it forgets itself, per second.
    pub(super) forgets: f64,
}

/// Variance over mean of the counts in bins of one length, and how many bins there were.
#[derive(Debug, Clone, Copy)]
pub(super) struct Seen {
    pub(super) seconds: f64,
    pub(super) dispersion: f64,
    pub(super) bins: f64,
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

    /// Variance over mean of the counts in bins of this length.
    pub(super) fn dispersion(&self, rate: f64, seconds: f64) -> f64 {
        1.0 + 2.0 * self.variation * rate / self.forgets * risen(self.forgets * seconds)
    }
}

/// What bursts there are, and by how much the dispersion grows with a second more because the rate
/// itself changes slowly.
pub(super) fn explain(rate: f64, seen: &[Seen], steady: bool) -> (Option<Bursts>, f64) {
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

/// How much of a fluctuation is seen in bins of its own time scale times `x`.
fn risen(x: f64) -> f64 {
    if x < 1e-6 {
        x / 2.0
    } else {
        1.0 + (-x).exp_m1() / x
    }
}
