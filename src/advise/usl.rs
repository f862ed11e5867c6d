//! Gunther's universal scalability law, fitted to the rates that were seen.
//!
//! `X(n) = γn / (1 + α(n-1) + βn(n-1))`: α is what has to take turns, β what all have to agree on
//! (N. Gunther, *Guerrilla Capacity Planning*, 2007). Written as `n / X(n)` it is linear in `1/γ`,
//! `α/γ` and `β/γ`, none of which is negative.

/// A rate seen at a level, and on how many completions it rests.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Point {
    pub(super) level: f64,
    pub(super) rate: f64,
    pub(super) completions: f64,
}

/// The law with its three figures.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Usl {
    /// What one connection alone would complete in a second.
    pub(crate) gamma: f64,
    pub(crate) alpha: f64,
    pub(crate) beta: f64,
}

/// What a further figure must take off the squared error (in units of the noise of counting) to be
/// believed: twice its standard error, squared. A straight line stays straight.
const WORTH: f64 = 4.0;

/// The figures in use, of `1/γ`, `α/γ`, `β/γ`; the first always is.
const SETS: [&[usize]; 4] = [&[0], &[0, 1], &[0, 2], &[0, 1, 2]];

impl Usl {
    pub(crate) fn rate(&self, level: f64) -> f64 {
        let others = (level - 1.0).max(0.0);
        self.gamma * level / (1.0 + self.alpha * others + self.beta * level * others)
    }

    /// The level at which the rate is highest: infinite if it never falls.
    pub(crate) fn peak(&self) -> f64 {
        if self.beta > 0.0 {
            ((1.0 - self.alpha).max(0.0) / self.beta).sqrt().max(1.0)
        } else {
            f64::INFINITY
        }
    }

    /// By least squares, weighted by completions; none without a usable point.
    pub(super) fn fit(points: &[Point]) -> Option<Self> {
        SETS.iter()
            .filter_map(|set| solve(points, set).map(|found| (found, set.len())))
            .map(|((usl, error), figures)| (usl, error + WORTH * figures as f64))
            .min_by(|a, b| a.1.total_cmp(&b.1))
            .map(|(usl, _)| usl)
    }
}

fn terms(level: f64) -> [f64; 3] {
    let others = (level - 1.0).max(0.0);
    [1.0, others, level * others]
}

/// The law with only these figures, and its error; none if one comes out negative.
fn solve(points: &[Point], set: &[usize]) -> Option<(Usl, f64)> {
    let mut figures = [0.0; 3];
    let mut error = f64::INFINITY;
    // The noise of `n / X` is a share of its own size: by the fit's, once there is one, for where
    // it is seen too low by chance it must not count for more.
    for round in 0..3 {
        let fitted = |p: &Point| dot(&figures, &terms(p.level));
        let weighted: Vec<(f64, f64, [f64; 3])> = points
            .iter()
            .map(|p| {
                let seen = p.level / p.rate;
                let size = if round == 0 { seen } else { fitted(p) };
                (p.completions / (size * size), seen, terms(p.level))
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
    let usl = Usl {
        gamma: 1.0 / figures[0],
        alpha: figures[1] / figures[0],
        beta: figures[2] / figures[0],
    };
    (usl.gamma.is_finite() && usl.alpha.is_finite() && usl.beta.is_finite() && error.is_finite())
        .then_some((usl, error))
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

    fn points(law: Usl, levels: impl Iterator<Item = u32>) -> Vec<Point> {
        levels
            .map(|n| Point {
                level: f64::from(n),
                rate: law.rate(f64::from(n)),
                completions: 1000.0,
            })
            .collect()
    }

    #[test]
    fn finds_the_law_that_made_the_points() {
        for (alpha, beta) in [(0.0, 0.0), (0.3, 0.0), (0.0, 0.02), (0.1, 0.01)] {
            let law = Usl {
                gamma: 250.0,
                alpha,
                beta,
            };
            let found = Usl::fit(&points(law, 1..=16)).unwrap();
            assert!((found.gamma / law.gamma - 1.0).abs() < 1e-6, "{found:?}");
            assert!((found.alpha - alpha).abs() < 1e-6, "{found:?}");
            assert!((found.beta - beta).abs() < 1e-6, "{found:?}");
        }
    }

    #[test]
    fn one_level_makes_a_straight_line() {
        let found = Usl::fit(&[Point {
            level: 4.0,
            rate: 100.0,
            completions: 5000.0,
        }]);
        assert_eq!(
            found,
            Some(Usl {
                gamma: 25.0,
                alpha: 0.0,
                beta: 0.0
            })
        );
    }

    #[test]
    fn better_than_straight_is_straight() {
        // Rates that grow faster than the level would need a negative α.
        let points: Vec<_> = (1..=8_u32)
            .map(|n| Point {
                level: f64::from(n),
                rate: f64::from(n).powf(1.2),
                completions: 100.0,
            })
            .collect();
        let found = Usl::fit(&points).unwrap();
        assert_eq!((found.alpha, found.beta), (0.0, 0.0));
    }

    #[test]
    fn the_peak_is_where_the_rate_is_highest() {
        let law = Usl {
            gamma: 10.0,
            alpha: 0.1,
            beta: 0.01,
        };
        let best = (1..100_u32)
            .max_by(|a, b| law.rate(f64::from(*a)).total_cmp(&law.rate(f64::from(*b))))
            .unwrap();
        assert!((law.peak() - f64::from(best)).abs() < 1.0);
    }
}
