//! The smallest pool of a model that meets a target.

use crate::advise::Model;

/// The smallest number of connections, up to `ceiling`, at which 95 % of all checkouts queue for
/// `target` seconds at most, were there `demand` times as many. None if there is no such number: the
/// load is more than can be served, or the rate falls before it is enough.
pub(super) fn smallest(model: &Model, target: f64, demand: f64, ceiling: u32) -> Option<u32> {
    let most = ceiling.min(model.curve().peak()).min(Model::MOST);
    let enough = |connections: u32| model.at(connections, demand).p95 <= target;
    crate::advise::smallest(most, enough)
}
