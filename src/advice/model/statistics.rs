//! Measures the dependence of two quantities and the distance of two samples.

use super::random::Random;

/// Pairs of values, compared within groups.
#[derive(Debug, Clone, Default)]
pub(crate) struct Pairs {
    /// Group, x, y.
    all: Vec<(u32, f64, f64)>,
}

/// Values that differ by less are equal, in seconds: times are recorded in microseconds.
const SAME: f64 = 3e-6;

/// Values are blurred by this share, so that a constant does not look like a difference.
const BLUR: f64 = 0.1;

impl Pairs {
    /// Groups the pairs by their first value.
    pub(crate) fn new(pairs: impl Iterator<Item = (u32, f64, f64)>) -> Self {
        let mut all: Vec<_> = pairs.collect();
        all.sort_by_key(|pair| pair.0);
        Self { all }
    }

    fn groups(&self) -> impl Iterator<Item = &[(u32, f64, f64)]> {
        self.all.chunk_by(|a, b| a.0 == b.0)
    }

    /// Returns the significance of `y` growing with `x`, in standard deviations: the correlation within
    /// groups times the square root of the number of pairs. 0 if undefined.
    pub(crate) fn dependence(&self) -> f64 {
        self.correlation() * (self.all.len() as f64).sqrt()
    }

    /// Returns the correlation within groups; 0 if undefined.
    pub(crate) fn correlation(&self) -> f64 {
        let (mut xx, mut yy, mut xy) = (0.0, 0.0, 0.0);
        for group in self.groups() {
            let n = group.len() as f64;
            let mean = |of: fn(&(u32, f64, f64)) -> f64| group.iter().map(of).sum::<f64>() / n;
            let (x, y) = (mean(|pair| pair.1), mean(|pair| pair.2));
            for pair in group {
                xx += (pair.1 - x) * (pair.1 - x);
                yy += (pair.2 - y) * (pair.2 - y);
                xy += (pair.1 - x) * (pair.2 - y);
            }
        }
        let r = xy / (xx * yy).sqrt();
        if r.is_finite() { r } else { 0.0 }
    }

    /// Returns the Kolmogorov distance between the `y` of each group's half with the smaller `x` and those
    /// of the other half: 0 if equally distributed, 1 if all of one half are below all of the other.
    pub(crate) fn distance(&self) -> f64 {
        let mut random = Random::new(1);
        let mut ranked: Vec<(f64, bool)> = Vec::with_capacity(self.all.len());
        for pairs in self.groups() {
            // Pairs with equal x are assigned to the halves at random.
            let pairs = pairs.iter();
            let mut group: Vec<_> = pairs.map(|(_, x, y)| (*x, random.uniform(), *y)).collect();
            group.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.total_cmp(&b.1)));
            let middle = group.len() / 2;
            for (rank, (_, _, y)) in group.iter().take(2 * middle).enumerate() {
                let blurred = y * (1.0 + BLUR * (2.0 * random.uniform() - 1.0));
                ranked.push((blurred, rank < middle));
            }
        }
        // Only zeros stay equal.
        kolmogorov(ranked, 0.0)
    }
}

/// Returns the Kolmogorov distance of two samples. Values within a few microseconds count as equal.
pub(crate) fn distance(one: impl Iterator<Item = f64>, other: impl Iterator<Item = f64>) -> f64 {
    let one = one.map(|value| (value, true));
    kolmogorov(one.chain(other.map(|value| (value, false))).collect(), SAME)
}

/// Returns the Kolmogorov distance of the marked values and the others. Neighbours that differ by at
/// most `same` count as equal.
fn kolmogorov(mut all: Vec<(f64, bool)>, same: f64) -> f64 {
    all.sort_by(|a, b| a.0.total_cmp(&b.0));
    let marked = all.iter().filter(|it| it.1).count();
    let (up, down) = (1.0 / marked as f64, 1.0 / (all.len() - marked) as f64);
    let (mut difference, mut most) = (0.0_f64, 0.0_f64);
    for equal in all.chunk_by(|a, b| b.0 - a.0 <= same) {
        for (_, is_marked) in equal {
            difference += if *is_marked { up } else { -down };
        }
        most = most.max(difference.abs());
    }
    most
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns pairs in groups of 500, by a formula of `x`, a random number and the group.
    fn pairs(of: impl Fn(f64, f64, f64) -> (f64, f64)) -> Pairs {
        let mut random = Random::new(4);
        let all: Vec<_> = (0..5000)
            .map(|n| {
                let group = n / 500;
                let (x, y) = of(random.uniform(), random.exponential(1.0), f64::from(group));
                (group, x, y)
            })
            .collect();
        Pairs::new(all.into_iter())
    }

    #[test]
    fn a_dependence_differs_from_chance() {
        let chance = pairs(|x, y, _| (x, y));
        assert!(chance.dependence().abs() < 3.0, "{}", chance.dependence());
        assert!(chance.distance() < 0.05, "{}", chance.distance());
        let grows = pairs(|x, y, _| (x, y * (1.0 + x)));
        assert!(grows.dependence() > 10.0, "{}", grows.dependence());
        assert!(grows.distance() > 0.1, "{}", grows.distance());
        let falls = pairs(|x, y, _| (x, y * (2.0 - x)));
        assert!(falls.dependence() < -10.0);
        assert!(pairs(|x, _, _| (x, x)).distance() > 0.8);
    }

    #[test]
    fn a_slow_change_is_not_a_dependence() {
        // Both grow from group to group.
        let drift = pairs(|x, y, group| (x + group, y * (1.0 + group)));
        assert!(drift.dependence().abs() < 3.0, "{}", drift.dependence());
        assert!(drift.distance() < 0.05, "{}", drift.distance());
    }

    #[test]
    fn constants_show_no_dependence() {
        for constant in [
            pairs(|x, _, _| (x, 3.0)),
            pairs(|_, y, _| (3.0, y)),
            pairs(|_, _, _| (0.0, 0.0)),
        ] {
            assert!(constant.dependence().abs() < 3.0);
            assert!(constant.distance() < 0.05, "{}", constant.distance());
        }
        let none = Pairs::new(std::iter::empty());
        assert_eq!((none.dependence(), none.distance()), (0.0, 0.0));
        let one = Pairs::new([(0, 1.0, 1.0)].into_iter());
        assert_eq!((one.dependence(), one.distance()), (0.0, 0.0));
    }

    #[test]
    fn the_distance_is_the_kolmogorov_distance() {
        let of = |one: &[f64], other: &[f64]| distance(one.iter().copied(), other.iter().copied());
        assert_eq!(of(&[1.0, 2.0, 3.0], &[1.0, 2.0, 3.0]), 0.0);
        assert_eq!(of(&[1.0, 2.0], &[3.0, 4.0, 5.0]), 1.0);
        assert_eq!(of(&[1.0, 2.0, 3.0, 4.0], &[3.0, 4.0, 5.0, 6.0]), 0.5);
        assert_eq!(
            of(&[1.0, 1.0], &[1.000_002]),
            0.0,
            "within the clock's resolution"
        );
        assert!((0.0..=1.0).contains(&of(&[], &[1.0])));
        assert_eq!(of(&[], &[]), 0.0);
    }
}
