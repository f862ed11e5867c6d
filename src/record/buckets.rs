//! Cumulative histograms since the pool's start, with fixed buckets for Prometheus.

use std::time::Duration;

/// Bucket boundaries of durations, in seconds: those of `db.client.operation.duration`, plus 100 µs and
/// 500 µs because a pool is faster than a query, and 30 s because that is the default timeout.
pub(crate) const SECONDS: &[f64] = &[
    0.0001, 0.0005, 0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 10.0, 30.0,
];
/// Bucket boundaries of counts per request.
pub(crate) const COUNTS: &[f64] = &[1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0, 1000.0];

/// Number of values in each bucket, and their sum. The last bucket has no upper bound.
#[derive(Debug, Clone)]
pub(crate) struct Buckets {
    boundaries: &'static [f64],
    counts: Box<[u64]>,
    sum: f64,
}

impl Buckets {
    pub(crate) fn new(boundaries: &'static [f64]) -> Self {
        Self {
            boundaries,
            counts: vec![0; boundaries.len() + 1].into_boxed_slice(),
            sum: 0.0,
        }
    }

    /// Records a value. A value on a boundary belongs to the bucket below it.
    pub(crate) fn record(&mut self, value: f64) {
        // From the lowest, because most durations are short.
        let bucket = self.boundaries.iter().position(|bound| value <= *bound);
        let bucket = bucket.unwrap_or(self.boundaries.len());
        self.counts[bucket] += 1;
        self.sum += value;
    }

    pub(crate) fn record_time(&mut self, time: Duration) {
        self.record(time.as_secs_f64());
    }

    pub(crate) fn sum(&self) -> f64 {
        self.sum
    }

    #[cfg(test)]
    pub(crate) fn count(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// Returns the upper bound of each bucket and the number of values in that bucket alone. The last
    /// bound is infinite.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (f64, u64)> {
        let bounds = self.boundaries.iter().copied().chain([f64::INFINITY]);
        bounds.zip(self.counts.iter().copied())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_value_is_counted_in_one_bucket() {
        let mut buckets = Buckets::new(&[1.0, 2.0]);
        for value in [0.5, 1.0, 1.5, 9.0] {
            buckets.record(value);
        }
        buckets.record_time(Duration::from_secs(2));
        let all: Vec<_> = buckets.iter().collect();
        assert_eq!(all, [(1.0, 2), (2.0, 2), (f64::INFINITY, 1)]);
        assert_eq!((buckets.count(), buckets.sum()), (5, 14.0));
    }
}
