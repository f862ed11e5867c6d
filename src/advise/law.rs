//! The law that the learned rates are fitted with, and extended by beyond the levels seen.
//!
//! Gunther's universal scalability law is `X(n) = γn / (1 + α(n-1) + βn(n-1))`: α is what has to
//! take turns, β what all have to agree on (N. Gunther, *Guerrilla Capacity Planning*, 2007).
//! Written as `n / X(n)`, the time that each takes, it is linear in `1/γ`, `α/γ` and `β/γ`, none of
//! which is negative.
//!
//! With β = 0 it is the slowest way to reach its highest rate: that of turns taken by all at once.
//! A lock or a server reaches it sooner, at best at the corner of the asymptotic bounds (P. Denning
//! and J. Buzen, *The operational analysis of queueing network models*, 1978). So the sum is taken
//! of powers: `(n/X)^k = T^k + b^k (n^k - 1)`, which is Gunther's for `k = 1` and the corner for a
//! large `k`.

/// A rate seen at a level, and on how many completions it rests.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Point {
    pub(super) level: f64,
    pub(super) rate: f64,
    pub(super) completions: f64,
}

/// The law with its figures.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Law {
    /// The time that one alone takes, in seconds: `1/γ`.
    pub(crate) alone: f64,
    /// How much longer it takes for each further one, once they queue: `α/γ`. The highest rate is
    /// its inverse.
    pub(crate) turn: f64,
    /// What all have to agree on, `β/γ`: above 0 the rate falls in the end.
    pub(crate) agree: f64,
    /// How sharp the corner is: 1 is Gunther's law.
    pub(crate) sharpness: f64,
}

/// What a further figure must take off the squared error (in units of the noise of counting) to be
/// believed: twice its standard error, squared. A straight line stays straight.
const WORTH: f64 = 4.0;

/// As much for a rate that falls, on top: it is said only of what was seen to fall.
const FALL: f64 = 6.0;

/// What is left of the highest rate where one is said to fall.
const FALLEN: f64 = 0.9;

/// Corners tried: Gunther's, the usual queue's, and sharper ones.
const SHARPNESS: [f64; 5] = [1.5, 2.0, 3.0, 4.0, 6.0];

/// The figures in use, of `T`, `b` and `β/γ`, with what they cost; the first always is in use.
const GUNTHER: [(&[usize], f64); 3] = [
    (&[0], WORTH),
    (&[0, 1], 2.0 * WORTH),
    (&[0, 1, 2], 3.0 * WORTH + FALL),
];
const FALLING: (&[usize], f64) = (&[0, 2], 2.0 * WORTH + FALL);

impl Law {
    /// Each as fast as alone.
    pub(super) fn straight(alone: f64) -> Self {
        Self {
            alone,
            turn: 0.0,
            agree: 0.0,
            sharpness: 1.0,
        }
    }

    pub(super) fn is_straight(&self) -> bool {
        self.turn <= 0.0 && self.agree <= 0.0
    }

    pub(crate) fn rate(&self, level: f64) -> f64 {
        let level = level.max(1.0);
        let time = if self.sharpness > 1.0 {
            // As a multiple of the time alone: powers of seconds may be too small for a float.
            let turns = (self.turn / self.alone).powf(self.sharpness);
            let over = turns * (level.powf(self.sharpness) - 1.0);
            self.alone * (1.0 + over).powf(1.0 / self.sharpness)
        } else {
            self.alone + (level - 1.0) * (self.turn + self.agree * level)
        };
        level / time
    }

    /// The level at which the rate is highest: infinite if it never falls.
    pub(crate) fn peak(&self) -> f64 {
        if self.turn > self.alone {
            1.0
        } else if self.agree > 0.0 {
            ((self.alone - self.turn) / self.agree).sqrt().max(1.0)
        } else {
            f64::INFINITY
        }
    }

    /// By least squares, weighted by completions; none without a usable point.
    pub(super) fn fit(points: &[Point]) -> Option<Self> {
        let last = points.iter().map(|p| p.level).fold(1.0, f64::max);
        let gunther = GUNTHER
            .iter()
            .chain(std::iter::once(&FALLING))
            .filter_map(|(set, cost)| Some((solve(points, set, 1.0)?, *cost)));
        let sharper = SHARPNESS
            .iter()
            .filter_map(|k| Some((solve(points, &[0, 1], *k)?, 3.0 * WORTH)));
        gunther
            .chain(sharper)
            .filter(|((law, _), _)| {
                let peak = law.peak();
                peak.is_infinite() || law.rate(last) < law.rate(peak.min(last)) * FALLEN
            })
            .map(|((law, error), cost)| (law, error + cost))
            .min_by(|a, b| a.1.total_cmp(&b.1))
            .map(|(law, _)| law)
    }
}

fn terms(level: f64, sharpness: f64) -> [f64; 3] {
    let others = (level - 1.0).max(0.0);
    [1.0, level.powf(sharpness) - 1.0, level * others]
}

/// The law with only these figures, and its error; none if one comes out negative.
fn solve(points: &[Point], set: &[usize], sharpness: f64) -> Option<(Law, f64)> {
    let mut figures = [0.0; 3];
    let mut error = f64::INFINITY;
    // In units of the shortest time seen, so that no power of it is too small.
    let unit = points
        .iter()
        .map(|p| p.level / p.rate)
        .fold(f64::INFINITY, f64::min);
    // The noise of `n / X` is a share of its own size: by the fit's, once there is one, for where
    // it is seen too low by chance it must not count for more.
    for round in 0..3 {
        let weighted: Vec<(f64, f64, [f64; 3])> = points
            .iter()
            .map(|p| {
                let terms = terms(p.level, sharpness);
                let seen = (p.level / p.rate / unit).powf(sharpness);
                let size = if round == 0 {
                    seen
                } else {
                    dot(&figures, &terms)
                };
                let noise = sharpness * size;
                (p.completions / (noise * noise), seen, terms)
            })
            .filter(|(weight, seen, _)| weight.is_finite() && seen.is_finite() && *weight > 0.0)
            .collect();
        if weighted.len() < set.len() {
            return None;
        }
        let found = normal(&weighted, set)?;
        if found[0] <= 0.0 || found.iter().any(|f| !f.is_finite() || *f < 0.0) {
            return None;
        }
        figures = found;
        error = weighted
            .iter()
            .map(|(weight, seen, terms)| weight * (seen - dot(&figures, terms)).powi(2))
            .sum();
    }
    let law = Law {
        alone: unit * figures[0].powf(1.0 / sharpness),
        turn: unit * figures[1].powf(1.0 / sharpness),
        agree: unit * figures[2],
        sharpness,
    };
    let usable = law.alone > 0.0
        && [law.alone, law.turn, law.agree, error]
            .iter()
            .all(|figure| figure.is_finite());
    usable.then_some((law, error))
}

fn dot(a: &[f64; 3], b: &[f64; 3]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

/// Solves the normal equations of the chosen figures by elimination with pivots.
fn normal(weighted: &[(f64, f64, [f64; 3])], set: &[usize]) -> Option<[f64; 3]> {
    let size = set.len();
    // One row a figure, the right-hand side in the last column.
    let mut rows = [[0.0; 4]; 3];
    for (weight, seen, terms) in weighted {
        for (row, &i) in rows.iter_mut().zip(set) {
            for (cell, &j) in row.iter_mut().zip(set) {
                *cell += weight * terms[i] * terms[j];
            }
            row[3] += weight * terms[i] * seen;
        }
    }
    for column in 0..size {
        let pivot = (column..size)
            .max_by(|a, b| rows[*a][column].abs().total_cmp(&rows[*b][column].abs()))?;
        rows.swap(column, pivot);
        let row = rows[column];
        if row[column].abs() <= f64::MIN_POSITIVE {
            return None;
        }
        for other in (0..size).filter(|other| *other != column) {
            let factor = rows[other][column] / row[column];
            for (cell, by) in rows[other].iter_mut().zip(row) {
                *cell -= factor * by;
            }
        }
    }
    let mut found = [0.0; 3];
    for (row, &figure) in set.iter().enumerate() {
        found[figure] = rows[row][3] / rows[row][row];
    }
    Some(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn points(law: Law, levels: impl Iterator<Item = u32>) -> Vec<Point> {
        levels
            .map(|n| Point {
                level: f64::from(n),
                rate: law.rate(f64::from(n)),
                completions: 10_000.0,
            })
            .collect()
    }

    #[test]
    fn finds_the_law_that_made_the_points() {
        for (turn, agree, sharpness) in [
            (0.0, 0.0, 1.0),
            (0.0012, 0.0, 1.0),
            (0.0, 1e-4, 1.0),
            (4e-4, 4e-5, 1.0),
            (0.0012, 0.0, 2.0),
            (0.0012, 0.0, 4.0),
        ] {
            let law = Law {
                alone: 0.004,
                turn,
                agree,
                sharpness,
            };
            let found = Law::fit(&points(law, 1..=24)).unwrap();
            assert!((found.alone / law.alone - 1.0).abs() < 1e-6, "{found:?}");
            assert!((found.turn - turn).abs() < 1e-8, "{found:?} {law:?}");
            assert!((found.agree - agree).abs() < 1e-8, "{found:?} {law:?}");
        }
    }

    #[test]
    fn one_level_makes_a_straight_line() {
        let found = Law::fit(&[Point {
            level: 4.0,
            rate: 100.0,
            completions: 5000.0,
        }])
        .unwrap();
        assert!(found.is_straight());
        assert!((found.alone - 0.04).abs() < 1e-12);
    }

    #[test]
    fn better_than_straight_is_straight() {
        // Rates that grow faster than the level would need a negative figure.
        let points: Vec<_> = (1..=8_u32)
            .map(|n| Point {
                level: f64::from(n),
                rate: f64::from(n).powf(1.2),
                completions: 100.0,
            })
            .collect();
        assert!(Law::fit(&points).unwrap().is_straight());
    }

    #[test]
    fn a_fall_that_was_not_seen_is_not_said() {
        let law = Law {
            alone: 0.004,
            turn: 0.0,
            agree: 1e-5,
            sharpness: 1.0,
        };
        assert!(law.peak() < 20.5 && law.peak() > 19.5);
        assert!(Law::fit(&points(law, 1..=12)).unwrap().peak().is_infinite());
        assert!(Law::fit(&points(law, 1..=60)).unwrap().peak() < 20.5);
    }

    #[test]
    fn the_peak_is_where_the_rate_is_highest() {
        let law = Law {
            alone: 0.1,
            turn: 0.01,
            agree: 0.001,
            sharpness: 1.0,
        };
        let best = (1..100_u32)
            .max_by(|a, b| law.rate(f64::from(*a)).total_cmp(&law.rate(f64::from(*b))))
            .unwrap();
        assert!((law.peak() - f64::from(best)).abs() < 1.0);
    }
}
