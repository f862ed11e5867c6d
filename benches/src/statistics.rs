//! Percentiles, and medians of what was measured in pairs.

use std::time::Duration;

/// Durations, to be asked for their percentiles.
#[derive(Debug, Clone, Default)]
pub struct Sample(Vec<Duration>);

impl Sample {
    pub fn sorted(mut values: Vec<Duration>) -> Self {
        values.sort_unstable();
        Self(values)
    }

    /// The value that a share `q` does not exceed; zero if there is none.
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

/// What was measured in rounds: one row a round, one column for each of the compared.
///
/// A machine that is busy elsewhere slows all of a round: so the rounds are compared, not the sums.
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

/// The order in which a round measures them: each round begins with another, for on a machine that
/// is shared the first to run after a pause gets more of it.
pub fn order(round: usize, compared: usize) -> impl Iterator<Item = usize> {
    (0..compared).map(move |at| (at + round) % compared)
}
