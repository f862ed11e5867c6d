//! Percentiles, and medians of measurements in rounds.

use std::time::Duration;

/// Sorted durations.
#[derive(Debug, Clone, Default)]
pub struct Sample(Vec<Duration>);

impl Sample {
    pub fn sorted(mut values: Vec<Duration>) -> Self {
        values.sort_unstable();
        Self(values)
    }

    /// The `q` quantile; zero for an empty sample.
    pub fn quantile(&self, q: f64) -> Duration {
        let rank = (self.0.len() as f64 * q).ceil() as usize;
        let at = rank.clamp(1, self.0.len().max(1)) - 1;
        self.0.get(at).copied().unwrap_or_default()
    }

    pub fn max(&self) -> Duration {
        self.0.last().copied().unwrap_or_default()
    }

    pub fn mean(&self) -> Duration {
        let all: Duration = self.0.iter().sum();
        all / u32::try_from(self.0.len().max(1)).unwrap_or(u32::MAX)
    }

    pub fn len(&self) -> usize {
        self.0.len()
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

pub fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

/// Measurements in rounds: one row for each round, one column for each variant.
///
/// Only values of the same round are compared, because a busy machine slows a whole round.
#[derive(Debug, Default)]
pub struct Rounds(pub Vec<Vec<f64>>);

impl Rounds {
    pub fn median_of(&self, column: usize) -> f64 {
        median(self.0.iter().map(|round| round[column]).collect())
    }

    /// Median of the ratios of two columns.
    pub fn ratio(&self, column: usize, to: usize) -> f64 {
        median(
            self.0
                .iter()
                .map(|round| round[column] / round[to])
                .collect(),
        )
    }

    /// Median of the differences of two columns.
    pub fn difference(&self, column: usize, from: usize) -> f64 {
        median(
            self.0
                .iter()
                .map(|round| round[column] - round[from])
                .collect(),
        )
    }
}

/// The order of the variants in a round. Each round starts with another one, because on a shared machine the
/// first to run after a pause gets more time.
pub fn order(round: usize, compared: usize) -> impl Iterator<Item = usize> {
    (0..compared).map(move |at| (at + round) % compared)
}
