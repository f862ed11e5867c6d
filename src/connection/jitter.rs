//! Chance, so that what began together does not go on together.

use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

/// From 0 to 1, never 1. The standard library's hash keys are random, and new for each
/// `RandomState`: enough for spreading things in time, and no dependency.
fn chance() -> f64 {
    (RandomState::new().hash_one(0_u8) >> 11) as f64 / (1_u64 << 53) as f64
}

/// Shorter than `full` by a random part of up to `percent` of it; never longer.
pub(super) fn shortened(full: Duration, percent: f64) -> Duration {
    full.mul_f64(1.0 - chance() * (percent / 100.0).clamp(0.0, 1.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_spread_over_the_whole_part_and_never_longer() {
        let full = Duration::from_secs(1000);
        let many: Vec<_> = (0..1000).map(|_| shortened(full, 10.0)).collect();
        assert!(many.iter().all(|&one| one > full * 9 / 10 && one <= full));
        // A tenth of them in each tenth: 40 is six standard deviations off.
        for tenth in 0..10 {
            let from = Duration::from_secs(900 + 10 * tenth);
            let within = |one: &&Duration| **one >= from && **one < from + Duration::from_secs(10);
            assert!(many.iter().filter(within).count() > 40, "{tenth}");
        }
        assert_eq!(shortened(full, 0.0), full);
    }
}
