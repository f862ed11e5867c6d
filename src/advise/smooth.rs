//! Rates that must rise, or rise and then fall: what contradicts that is noise, and would make a
//! connection more seem to wait longer. By pooling adjacent violators.

/// A rate, and how many it rests on.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Pool {
    pub(super) rate: f64,
    pub(super) weight: f64,
}

/// Each with the rate and the weight of the pool that it is in.
pub(super) fn rising(pools: impl Iterator<Item = Pool>) -> Vec<Pool> {
    let mut found: Vec<(Pool, usize)> = Vec::new();
    for pool in pools {
        let mut pool = (pool, 1);
        while let Some((last, many)) = found.last().filter(|(last, _)| last.rate > pool.0.rate) {
            let weight = last.weight + pool.0.weight;
            let rate = (last.rate * last.weight + pool.0.rate * pool.0.weight) / weight;
            pool = (Pool { rate, weight }, many + pool.1);
            found.pop();
        }
        found.push(pool);
    }
    found
        .into_iter()
        .flat_map(|(pool, many)| std::iter::repeat_n(pool, many))
        .collect()
}

/// Rising as far as the peak, which is a number of rates, and falling after it.
pub(super) fn unimodal(pools: &[Pool], peak: f64) -> Vec<f64> {
    let (up, down) = pools.split_at(peak.min(pools.len() as f64) as usize);
    let up = rising(up.iter().copied());
    let down = rising(down.iter().rev().copied());
    up.iter()
        .chain(down.iter().rev())
        .map(|pool| pool.rate)
        .collect()
}

/// The value at a place, on a straight line between the two places that are known; that of the
/// nearest one beyond all.
pub(super) fn between(known: &[(f64, f64)], at: f64) -> Option<f64> {
    let after = known.partition_point(|(place, _)| *place < at);
    match (after.checked_sub(1).map(|i| known[i]), known.get(after)) {
        (Some(a), Some(b)) => Some(a.1 + (b.1 - a.1) * (at - a.0) / (b.0 - a.0)),
        (Some(only), None) => Some(only.1),
        (None, only) => only.map(|only| only.1),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pools(of: &[(f64, f64)]) -> Vec<Pool> {
        of.iter()
            .map(|(rate, weight)| Pool {
                rate: *rate,
                weight: *weight,
            })
            .collect()
    }

    #[test]
    fn what_contradicts_is_pooled_by_its_weight() {
        let rates = |of: &[(f64, f64)]| {
            let found = rising(pools(of).into_iter());
            found.iter().map(|pool| pool.rate).collect::<Vec<_>>()
        };
        assert_eq!(
            rates(&[(1.0, 1.0), (2.0, 1.0), (2.0, 9.0)]),
            [1.0, 2.0, 2.0]
        );
        assert_eq!(
            rates(&[(1.0, 1.0), (4.0, 1.0), (2.0, 3.0)]),
            [1.0, 2.5, 2.5]
        );
        assert_eq!(rates(&[(3.0, 1.0), (2.0, 1.0), (1.0, 1.0)]), [2.0; 3]);
        assert_eq!(rates(&[]), [] as [f64; 0]);
        let all = rising(pools(&[(4.0, 1.0), (2.0, 3.0)]).into_iter());
        assert_eq!(all[1].weight, 4.0);
    }

    #[test]
    fn it_rises_to_the_peak_and_falls_from_there() {
        let seen = pools(&[(1.0, 1.0), (3.0, 1.0), (2.0, 1.0), (1.0, 1.0), (2.0, 1.0)]);
        assert_eq!(unimodal(&seen, 2.5), [1.0, 3.0, 2.0, 1.5, 1.5]);
        assert_eq!(unimodal(&seen, f64::INFINITY), [1.0, 2.0, 2.0, 2.0, 2.0]);
        assert_eq!(unimodal(&seen, 0.0), [2.0, 2.0, 2.0, 1.5, 1.5]);
        assert_eq!(unimodal(&[], 1.0), [] as [f64; 0]);
    }

    #[test]
    fn between_two_known_ones_it_is_a_straight_line() {
        let known = [(2.0, 10.0), (4.0, 20.0)];
        let found = [1.0, 2.0, 2.5, 4.0, 9.0].map(|at| between(&known, at).unwrap());
        assert_eq!(found, [10.0, 10.0, 12.5, 20.0, 20.0]);
        assert_eq!(between(&[], 1.0), None);
    }
}
