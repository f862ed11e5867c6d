//! A load whose rate changes from block to block: what is left of one is served in the next.

use super::demand::Demand;

/// Rates that are told apart.
const GROUPS: usize = 8;

/// What a load consists of.
#[derive(Debug, Default)]
pub(super) struct Stretches {
    /// Rates at which the queue comes and goes, and their arrivals.
    pub(super) steady: Vec<(f64, f64)>,
    /// Arrivals while there is a backlog, and the wait that it means at its two ends.
    pub(super) behind: Vec<(f64, (f64, f64))>,
}

impl Stretches {
    /// Of so many arrivals a second on average, with `best` served at most. In blocks with more
    /// arrivals than can be served a backlog grows, that drains in the next ones.
    pub(super) fn of(demand: &Demand, rate: f64, best: f64) -> Self {
        let mut found = Self::default();
        if demand.blocks.is_empty() {
            found.steady.push((rate, 1.0));
        }
        let mut backlog = 0.0_f64;
        for (seconds, relative) in &demand.blocks {
            let rate = rate * relative;
            let growth = rate - best;
            let after = (backlog + growth * seconds).max(0.0);
            let behind_for = if growth >= 0.0 {
                *seconds
            } else {
                (backlog / -growth).min(*seconds)
            };
            if behind_for > 0.0 {
                let waits = (backlog / best, after / best);
                found.behind.push((rate * behind_for, waits));
            }
            if behind_for < *seconds {
                found.steady.push((rate, rate * (seconds - behind_for)));
            }
            backlog = after;
        }
        found.steady = groups(found.steady);
        found
    }
}

/// A few rates in place of many, each for as many arrivals.
fn groups(mut steady: Vec<(f64, f64)>) -> Vec<(f64, f64)> {
    steady.sort_by(|a, b| a.0.total_cmp(&b.0));
    let all: f64 = steady.iter().map(|(_, arrivals)| arrivals).sum();
    let mut groups = Vec::with_capacity(GROUPS);
    let (mut sum, mut arrivals, mut passed) = (0.0, 0.0, 0.0);
    for (index, (rate, weight)) in steady.iter().enumerate() {
        sum += rate * weight;
        arrivals += weight;
        passed += weight;
        let full = passed >= all * (groups.len() + 1) as f64 / GROUPS as f64;
        if arrivals > 0.0 && (full || index + 1 == steady.len()) {
            groups.push((sum / arrivals, arrivals));
            (sum, arrivals) = (0.0, 0.0);
        }
    }
    groups
}
