//! Evaluates a sweep: the errors of the recommended size and of the predictions.

use std::time::Duration;

use poolscope_benches::statistics::median;

use super::advice::Predicted;
use super::measured::Measured;
use super::sweep::Sweep;

/// The p95 at which the advice aims; the setting's default.
pub(crate) const TARGET: Duration = Duration::from_millis(5);
/// Errors of shorter waits do not count.
const SHORT: Duration = Duration::from_millis(2);
/// The target for the median error of the predicted p95 of each load.
pub(crate) const GOOD: f64 = 0.15;

impl Sweep {
    /// The smallest size that met the target, if one did.
    pub(crate) fn smallest(&self) -> Option<u32> {
        let met = |it: &&Measured| !it.overload && it.p95 <= TARGET;
        Some(self.measured.iter().find(met)?.connections)
    }

    /// Whether the recommended size is within one connection of the smallest that met the target. If sizes
    /// were skipped below that one, any of them counts.
    pub(crate) fn within_one(&self) -> bool {
        let Some(recommended) = self.advice.recommended else {
            return false;
        };
        let mut tried = self.measured.iter().map(|it| it.connections);
        match self.smallest() {
            Some(smallest) => {
                let missed = tried.take_while(|size| *size < smallest).last();
                let least = missed.unwrap_or(smallest.saturating_sub(1));
                (least..=smallest + 1).contains(&recommended)
            }
            // No size was enough.
            None => tried.next_back().is_some_and(|most| recommended >= most),
        }
    }

    /// The relative errors of the predicted p95, where defined.
    pub(crate) fn errors(&self) -> Vec<f64> {
        let pairs = self.measured.iter().map(|it| (it, self.predicted(it)));
        pairs
            .filter_map(|(measured, predicted)| error(measured, predicted?))
            .collect()
    }

    /// Returns how many overloads were predicted, and how many occurred.
    pub(crate) fn overloads(&self) -> (usize, usize) {
        let (mut predicted_count, mut all) = (0, 0);
        for measured in self.measured.iter().filter(|it| it.overload) {
            let predicted = self.predicted(measured);
            predicted_count += usize::from(predicted.is_some_and(|it| it.p95.is_none()));
            all += 1;
        }
        (predicted_count, all)
    }

    pub(crate) fn predicted(&self, measured: &Measured) -> Option<Predicted> {
        self.advice.at(measured.connections)
    }
}

/// The error of the predicted p95 relative to the measured one; infinite if only the prediction was
/// overload. `None` if the measured one is overload or short.
pub(crate) fn error(measured: &Measured, predicted: Predicted) -> Option<f64> {
    if measured.overload || measured.p95 <= SHORT {
        return None;
    }
    let (measured, predicted) = (measured.p95.as_secs_f64(), predicted.p95);
    let predicted = predicted.map_or(f64::INFINITY, |p95| p95.as_secs_f64());
    Some((predicted - measured) / measured)
}

/// How many sweeps may miss the recommended size: one in twenty, rounded.
pub(crate) fn misses_allowed(sweeps: usize) -> usize {
    (sweeps + 10) / 20
}

/// The median of the absolute errors; `None` if there are none.
pub(crate) fn median_error<'a>(sweeps: impl Iterator<Item = &'a Sweep>) -> Option<f64> {
    let errors: Vec<_> = sweeps.flat_map(Sweep::errors).map(f64::abs).collect();
    (!errors.is_empty()).then(|| median(errors))
}

/// The difference between the measurements of one load's sweeps: the median, over the sizes and the pairs of
/// sweeps, of the larger p95 relative to the smaller one, minus one. No prediction can be expected to come
/// closer. `None` if the load was swept once.
pub(crate) fn repeatability(sweeps: &[&Sweep]) -> Option<f64> {
    let mut differences = Vec::new();
    for (index, one) in sweeps.iter().enumerate() {
        for other in &sweeps[index + 1..] {
            for (one, other) in one.measured.iter().zip(&other.measured) {
                if [one, other].iter().all(|it| !it.overload && it.p95 > SHORT) {
                    let (one, other) = (one.p95.as_secs_f64(), other.p95.as_secs_f64());
                    differences.push(one.max(other) / one.min(other) - 1.0);
                }
            }
        }
    }
    (!differences.is_empty()).then(|| median(differences))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_of_twenty_sweeps_may_miss() {
        for (sweeps, misses) in [(1, 0), (9, 0), (10, 1), (18, 1), (29, 1), (30, 2), (40, 2)] {
            assert_eq!(misses_allowed(sweeps), misses, "{sweeps}");
        }
    }
}
