//! The smallest number of connections that is enough, and the predictions worth showing.

use super::model::{Model, Prediction};

/// The smallest number of connections, up to `ceiling`, at which 95 % of all checkouts queue for
/// `target` seconds at most, were there `demand` times as many. None if there is no such number: the
/// load is more than can be served, or the rate falls before it is enough.
pub(crate) fn smallest(model: &Model, target: f64, demand: f64, ceiling: u32) -> Option<u32> {
    let most = ceiling.min(model.curve().peak()).min(Model::MOST);
    let enough = |connections: u32| model.at(connections, demand).p95 <= target;
    if most == 0 {
        return None;
    }
    // Upwards in growing steps, for it is seldom near the ceiling; then between the last two.
    let (mut short, mut step) = (0, 1);
    loop {
        let next = (short + step).min(most);
        if enough(next) {
            let mut found = next;
            while found - short > 1 {
                let middle = short + (found - short) / 2;
                if enough(middle) {
                    found = middle;
                } else {
                    short = middle;
                }
            }
            return Some(found);
        }
        if next == most {
            return None;
        }
        (short, step) = (next, step * 2);
    }
}

/// Predictions around these numbers of connections: each with its neighbours, and those between
/// them as far as they are few.
pub(crate) fn table(model: &Model, demand: f64, around: &[u32], ceiling: u32) -> Vec<Prediction> {
    let ceiling = ceiling.clamp(1, Model::MOST);
    let mut sizes: Vec<u32> = around
        .iter()
        .flat_map(|size| {
            let size = (*size).clamp(1, ceiling);
            // A tenth more or less is worth a row, one connection only for small pools.
            let step = (size / 10).max(1);
            (-3..=3_i64).map(move |by| i64::from(size) + by * i64::from(step))
        })
        .filter_map(|size| u32::try_from(size).ok())
        .filter(|size| (1..=ceiling).contains(size))
        .collect();
    sizes.sort_unstable();
    sizes.dedup();
    sizes
        .into_iter()
        .map(|size| model.at(size, demand))
        .collect()
}
