//! The smallest number of connections that is enough.

use crate::advise::Model;

/// The smallest number of connections, up to `ceiling`, at which 95 % of all checkouts queue for
/// `target` seconds at most, were there `demand` times as many. None if there is no such number: the
/// load is more than can be served, or the rate falls before it is enough.
pub(super) fn smallest(model: &Model, target: f64, demand: f64, ceiling: u32) -> Option<u32> {
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
