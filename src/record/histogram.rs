//! A small log-linear histogram of durations, with fixed memory and percentiles within 7 %.

use std::time::Duration;

use crate::record::clock::nanos;

/// Each microsecond below this has its own bucket.
const LINEAR: u64 = 32;
/// Buckets per octave above [`LINEAR`]: the width of a bucket is at most 1/16 of its value.
const PER_OCTAVE: u64 = 16;
/// Octaves from 32 µs to 2^33 µs, which is 2.4 hours. Longer durations share the last bucket.
const OCTAVES: u64 = 28;
const BUCKETS: usize = (LINEAR + OCTAVES * PER_OCTAVE) as usize;

/// Durations of one kind within a period.
#[derive(Debug, Clone)]
pub(crate) struct Histogram {
    buckets: Box<[u32; BUCKETS]>,
    count: u64,
    /// Nanoseconds.
    sum: u64,
    max: u64,
}

/// A histogram that is not written to any more, in 8 bytes for each bucket with values.
#[derive(Debug, Default)]
pub(crate) struct Packed {
    /// The buckets with values, in their order.
    buckets: Box<[(u16, u32)]>,
    count: u64,
    sum: u64,
    max: u64,
}

impl Packed {
    pub(crate) fn count(&self) -> u64 {
        self.count
    }

    /// Returns the sum in nanoseconds.
    pub(crate) fn sum(&self) -> u64 {
        self.sum
    }
}

impl Default for Histogram {
    fn default() -> Self {
        Self {
            buckets: Box::new([0; BUCKETS]),
            count: 0,
            sum: 0,
            max: 0,
        }
    }
}

impl Histogram {
    pub(crate) fn record(&mut self, value: Duration) {
        let value = nanos(value);
        let bucket = &mut self.buckets[bucket_of(value)];
        *bucket = bucket.saturating_add(1);
        self.count += 1;
        self.sum = self.sum.saturating_add(value);
        self.max = self.max.max(value);
    }

    /// Adds the values of a packed histogram.
    pub(crate) fn merge(&mut self, other: &Packed) {
        for &(bucket, values) in &other.buckets {
            let bucket = &mut self.buckets[usize::from(bucket)];
            *bucket = bucket.saturating_add(values);
        }
        self.count += other.count;
        self.sum = self.sum.saturating_add(other.sum);
        self.max = self.max.max(other.max);
    }

    /// Copies the values without the empty buckets.
    pub(crate) fn pack(&self) -> Packed {
        if self.count == 0 {
            return Packed::default();
        }
        let used = || {
            self.buckets
                .iter()
                .zip(0..)
                .filter(|(values, _)| **values > 0)
        };
        let mut buckets = Vec::with_capacity(used().count());
        buckets.extend(used().map(|(values, bucket)| (bucket, *values)));
        Packed {
            buckets: buckets.into_boxed_slice(),
            count: self.count,
            sum: self.sum,
            max: self.max,
        }
    }

    /// Removes all values. Keeps the memory.
    pub(crate) fn clear(&mut self) {
        if self.count > 0 {
            self.buckets.fill(0);
        }
        (self.count, self.sum, self.max) = (0, 0, 0);
    }

    pub(crate) fn count(&self) -> u64 {
        self.count
    }

    /// Returns the sum in nanoseconds.
    pub(crate) fn sum(&self) -> u64 {
        self.sum
    }

    pub(crate) fn max(&self) -> Option<Duration> {
        (self.count > 0).then(|| Duration::from_nanos(self.max))
    }

    pub(crate) fn mean(&self) -> Option<Duration> {
        (self.count > 0).then(|| Duration::from_nanos(self.sum).div_f64(self.count as f64))
    }

    /// Returns the `q`-quantile (0 to 1), or `None` if the histogram is empty. Returns the upper edge of
    /// the bucket, so that a percentile is never too low.
    pub(crate) fn quantile(&self, q: f64) -> Option<Duration> {
        let max = self.max()?;
        let rank = ((self.count as f64 * q).ceil() as u64).clamp(1, self.count);
        let mut seen = 0;
        for (index, &n) in self.buckets.iter().enumerate() {
            seen += u64::from(n);
            if seen >= rank {
                return Some(upper_edge(index).min(max));
            }
        }
        Some(max)
    }
}

fn bucket_of(nanos: u64) -> usize {
    let micros = nanos / 1000;
    if micros < LINEAR {
        return micros as usize;
    }
    let octave = u64::from(micros.ilog2()) - u64::from(LINEAR.ilog2());
    if octave >= OCTAVES {
        return BUCKETS - 1;
    }
    // The four bits below the leading one are the bucket within the octave.
    let within = (micros >> (octave + 1)) & (PER_OCTAVE - 1);
    (LINEAR + octave * PER_OCTAVE + within) as usize
}

fn upper_edge(bucket: usize) -> Duration {
    let bucket = bucket as u64;
    let micros = if bucket < LINEAR {
        bucket + 1
    } else {
        let (octave, within) = (
            (bucket - LINEAR) / PER_OCTAVE,
            (bucket - LINEAR) % PER_OCTAVE,
        );
        (PER_OCTAVE + within + 1) << (octave + 1)
    };
    Duration::from_micros(micros)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn an_empty_histogram_has_no_values() {
        let empty = Histogram::default();
        assert_eq!(
            (empty.quantile(0.5), empty.mean(), empty.max()),
            (None, None, None)
        );
    }

    #[test]
    fn percentiles_are_within_7_percent() {
        let mut h = Histogram::default();
        (1..=1000).for_each(|ms| h.record(Duration::from_millis(ms)));
        let p95 = h.quantile(0.95).unwrap().as_secs_f64();
        assert!((0.95..0.95 * 1.07).contains(&p95), "{p95}");
        assert_eq!(h.quantile(1.0).unwrap(), Duration::from_secs(1));
        assert!((h.mean().unwrap().as_secs_f64() - 0.5005).abs() < 1e-6);
    }

    proptest! {
        #[test]
        fn the_upper_edge_is_close_above_the_value(micros in 0_u64..1 << 33) {
            let value = Duration::from_micros(micros);
            let edge = upper_edge(bucket_of(nanos(value)));
            prop_assert!(edge > value);
            prop_assert!(edge.as_micros() as f64 <= micros as f64 * 1.0626 + 1.0);
        }

        #[test]
        fn merging_equals_recording_all(a in prop::collection::vec(any::<u64>(), 0..50), b in prop::collection::vec(any::<u64>(), 0..50)) {
            let of = |values: &[u64]| {
                let mut h = Histogram::default();
                values.iter().for_each(|&n| h.record(Duration::from_nanos(n)));
                h
            };
            let (mut merged, all) = (of(&a), of(&[a.clone(), b.clone()].concat()));
            merged.merge(&of(&b).pack());
            prop_assert_eq!(merged.count(), all.count());
            prop_assert_eq!(merged.quantile(0.9), all.quantile(0.9));
            prop_assert_eq!(merged.max(), all.max());
            prop_assert_eq!(merged.pack().buckets, all.pack().buckets);
            merged.clear();
            prop_assert_eq!(merged.quantile(0.9), None);
        }
    }
}
