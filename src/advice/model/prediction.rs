//! Summarizes the waits of a replay.

use super::random::Random;
use super::replay::{PARTS, Replayed};

/// The predicted waits in the pool's queue, in seconds; infinite if more arrives than can be served.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Prediction {
    pub(crate) connections: u32,
    /// Mean connections in use, as a share of all. Above 1 in an overload: arrivals divided by
    /// throughput.
    pub(crate) utilization: f64,
    /// Checkouts served per second. Clients that wait for responses send fewer requests if they wait
    /// longer.
    pub(crate) served: f64,
    /// The share of checkouts that queue at all.
    pub(crate) queueing: f64,
    pub(crate) mean: f64,
    pub(crate) p50: f64,
    pub(crate) p95: f64,
    pub(crate) p99: f64,
    /// The 80 % interval of the p95 over records of the same load.
    pub(crate) p95_range: (f64, f64),
    /// Number of connections beyond those in use in the record; 0 within it.
    pub(crate) beyond_data: u32,
}

impl Prediction {
    /// Summarizes a replay. `rate` is the number of arrivals per second.
    pub(super) fn of(connections: u32, rate: f64, mut replayed: Replayed) -> Self {
        let overload = Self {
            connections,
            utilization: (rate / replayed.served).max(1.0),
            served: replayed.served,
            queueing: 1.0,
            mean: f64::INFINITY,
            p50: f64::INFINITY,
            p95: f64::INFINITY,
            p99: f64::INFINITY,
            p95_range: (f64::INFINITY, f64::INFINITY),
            beyond_data: 0,
        };
        if replayed.overload {
            return overload;
        }
        replayed.queued.sort_by(|a, b| a.0.total_cmp(&b.0));
        let waits: Vec<f64> = replayed.queued.iter().map(|it| it.0).collect();
        let count = waits.len().max(1) as f64;
        let p95 = quantile(&waits, 0.95);
        Self {
            utilization: (replayed.in_use / f64::from(connections)).min(1.0),
            queueing: waits.iter().filter(|wait| **wait > 0.0).count() as f64 / count,
            mean: waits.iter().sum::<f64>() / count,
            p50: quantile(&waits, 0.5),
            p95,
            p99: quantile(&waits, 0.99),
            p95_range: range(&replayed.queued, p95),
            ..overload
        }
    }
}

/// Returns the quantile of sorted values; 0 if there are none.
pub(super) fn quantile(sorted: &[f64], q: f64) -> f64 {
    let rank = (sorted.len() as f64 * q).ceil() as usize;
    let index = rank.clamp(1, sorted.len().max(1)) - 1;
    sorted.get(index).copied().unwrap_or_default()
}

/// Returns the 80 % interval of the p95, from records that are assembled of random parts of this one
/// (B. Efron's bootstrap, 1979, by blocks). The waits are sorted, each with the number of its part.
fn range(waits: &[(f64, usize)], p95: f64) -> (f64, f64) {
    const RECORDS: usize = 100;
    let mut sizes = [0; PARTS];
    waits.iter().for_each(|(_, part)| sizes[*part] += 1);
    let parts = sizes.iter().filter(|size| **size > 0).count();
    let mut random = Random::new(0);
    let mut found = [0.0; RECORDS];
    for found in &mut found {
        let mut drawn = [0; PARTS];
        (0..parts).for_each(|_| drawn[random.below(parts)] += 1);
        let all: usize = drawn
            .iter()
            .zip(sizes)
            .map(|(times, size)| times * size)
            .sum();
        let mut beyond = all - (all as f64 * 0.95).ceil() as usize;
        let longest_first = waits.iter().rev();
        let reached = longest_first.skip_while(|(_, part)| {
            let rest = beyond.checked_sub(drawn[*part]);
            beyond = rest.unwrap_or_default();
            rest.is_some()
        });
        *found = reached.map(|it| it.0).next().unwrap_or_default();
    }
    found.sort_by(f64::total_cmp);
    (
        quantile(&found, 0.1).min(p95),
        quantile(&found, 0.9).max(p95),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns `each` waits per part: every other one is 0, and the rest have a mean of one second.
    fn replayed(each: usize) -> Replayed {
        let mut random = Random::new(3);
        let mut replayed = Replayed {
            served: 100.0,
            in_use: 3.0,
            ..Replayed::default()
        };
        for part in 0..PARTS {
            let waits = (0..each).map(|n| ((n % 2) as f64 * random.exponential(1.0), part));
            replayed.queued.extend(waits);
        }
        replayed
    }

    #[test]
    fn the_range_is_around_the_p95_and_narrower_with_more_data() {
        let width = |each| {
            let found = Prediction::of(4, 100.0, replayed(each));
            let (least, most) = found.p95_range;
            assert!(least <= found.p95 && found.p95 <= most, "{found:?}");
            most / least
        };
        let [few, some, many] = [20, 400, 20_000].map(width);
        assert!(few > some && some > many, "{few} {some} {many}");
        assert!(few > 1.15 && many < 1.05, "{few} {many}");
    }

    #[test]
    fn waits_are_summarized() {
        let found = Prediction::of(4, 100.0, replayed(20_000));
        // Half of them wait, so the p95 of all is the p90 of those that wait.
        assert!((found.p95 - 10_f64.ln()).abs() < 0.05, "{found:?}");
        assert!((found.p99 - 50_f64.ln()).abs() < 0.15, "{found:?}");
        assert!((found.mean - 0.5).abs() < 0.02, "{found:?}");
        assert_eq!((found.p50, found.queueing), (0.0, 0.5));
        assert_eq!((found.utilization, found.served), (0.75, 100.0));
    }

    #[test]
    fn an_overload_is_infinite_and_an_empty_replay_is_zero() {
        let overload = Replayed {
            overload: true,
            ..replayed(100)
        };
        let found = Prediction::of(4, 250.0, overload);
        assert_eq!((found.utilization, found.queueing), (2.5, 1.0));
        assert_eq!(
            (found.p50, found.p95_range.0),
            (f64::INFINITY, f64::INFINITY)
        );
        let found = Prediction::of(
            4,
            0.0,
            Replayed {
                served: 1.0,
                ..Replayed::default()
            },
        );
        assert_eq!(
            (found.p99, found.p95_range, found.mean),
            (0.0, (0.0, 0.0), 0.0)
        );
    }

    #[test]
    fn a_quantile_is_one_of_the_values() {
        let values = [1.0, 2.0, 3.0, 4.0];
        let of = |q| quantile(&values, q);
        assert_eq!(
            [of(0.0), of(0.25), of(0.5), of(0.95), of(1.0)],
            [1.0, 1.0, 2.0, 4.0, 4.0]
        );
        assert_eq!(quantile(&[], 0.5), 0.0);
    }
}
