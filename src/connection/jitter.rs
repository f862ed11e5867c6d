//! Random jitter, so that connections and replicas that start together do not act together.

use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

/// Returns a random number in `0.0..1.0`. Uses the standard library's hash keys, which differ for
/// each `RandomState`: that is random enough for jitter and needs no dependency.
fn chance() -> f64 {
    (RandomState::new().hash_one(0_u8) >> 11) as f64 / (1_u64 << 53) as f64
}

/// Returns `full`, shortened by a random part of up to `percent` of it.
pub(super) fn shortened(full: Duration, percent: f64) -> Duration {
    full.mul_f64(1.0 - chance() * (percent / 100.0).clamp(0.0, 1.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_result_is_spread_over_the_whole_range_and_never_longer() {
        let full = Duration::from_secs(1000);
        let many: Vec<_> = (0..1000).map(|_| shortened(full, 10.0)).collect();
        assert!(many.iter().all(|&one| one > full * 9 / 10 && one <= full));
        // Each tenth gets about a tenth of the values: 40 is six standard deviations off.
        for tenth in 0..10 {
            let from = Duration::from_secs(900 + 10 * tenth);
            let within = |one: &&Duration| **one >= from && **one < from + Duration::from_secs(10);
            assert!(many.iter().filter(within).count() > 40, "{tenth}");
        }
        assert_eq!(shortened(full, 0.0), full);
    }
}
