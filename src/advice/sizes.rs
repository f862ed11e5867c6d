//! Which size to recommend: rules over what a model predicts, without clock, lock or I/O.

use super::learned::Forecast;
use super::model::{Prediction, smallest};
use crate::settings::Settings;

/// A size that is so close to the best one is left alone, in percent of it; one connection always is.
const CLOSE_PCT: u32 = 10;
/// More connections are of use where they lower the utilization by this share at least.
const GAIN: f64 = 0.05;
/// Fewer connections may not cost more than this share of what is served.
const LOSS: f64 = 0.05;

/// Some arrivals, and what a model predicts of them.
#[derive(Clone, Copy)]
pub(super) struct Demand<'a> {
    pub(super) forecast: &'a dyn Forecast,
    /// This many times the arrivals of the record.
    pub(super) times: f64,
}

impl Demand<'_> {
    pub(super) fn at(&self, connections: u32) -> Prediction {
        self.forecast.at(connections, self.times)
    }

    /// The smallest size up to `most` that meets the target, and serves no less than `least`.
    fn smallest(&self, target: f64, least: f64, most: u32) -> Option<u32> {
        smallest(most, |connections| {
            let prediction = self.at(connections);
            meets(&prediction, target) && prediction.served >= least
        })
    }
}

/// What is asked of the rules.
#[derive(Clone, Copy)]
pub(super) struct Case<'a> {
    /// The most that is to be ready for.
    pub(super) peak: Demand<'a>,
    /// What is usual.
    pub(super) usual: Demand<'a>,
    /// The wait in the queue that 95 of 100 should stay below, in seconds.
    pub(super) target: f64,
    /// More connections than these serve practically no more.
    pub(super) saturates_at: Option<u32>,
    /// The most that the server has for this pool.
    pub(super) share: Option<u32>,
    /// The sizes near to what was observed, if what was seen there does not explain others.
    pub(super) known: Option<(u32, u32)>,
    /// Whether the size in force met the target when the load was learned, as it was measured.
    pub(super) is_served: bool,
    /// Size and overflow in force.
    pub(super) now: (u32, u32),
    /// Whether the pool has an overflow to set.
    pub(super) overflows: bool,
}

/// What to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Nothing: it meets the target, and is close to the best.
    Fits,
    /// Nothing, though it does not meet the target: no other size that may be set is better.
    Stays,
    /// Only to keep more of them open.
    Split,
    Grow,
    Shrink,
}

/// The size to recommend.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Sizing {
    pub(super) pool_size: u32,
    pub(super) max_overflow: u32,
    /// The smallest size that meets the target, whatever the server can grant; `None` where no
    /// size does.
    pub(super) need: Option<u32>,
    pub(super) verdict: Verdict,
}

impl Sizing {
    pub(super) fn total(&self) -> u32 {
        self.pool_size + self.max_overflow
    }

    /// Whether it is less than the load needs.
    pub(super) fn is_capped(&self) -> bool {
        self.need.is_some_and(|need| need > self.total())
    }
}

pub(super) fn meets(prediction: &Prediction, target: f64) -> bool {
    prediction.p95 <= target
}

pub(super) fn sizing(case: &Case<'_>) -> Sizing {
    let most = Settings::MAX_CONNECTIONS;
    let now = case.now.0.saturating_add(case.now.1);
    let share = case.share.unwrap_or(most).clamp(1, most);
    let current = case.peak.at(now.max(1));
    let least = (1.0 - LOSS) * current.served;
    let need = case.peak.smallest(case.target, least, most);
    let need = need.map(|need| near(case.known, need));
    let total = need
        .unwrap_or_else(|| near(case.known, least_bad(case, now.clamp(1, most))))
        .min(share);
    // What there is beyond it is opened when it is needed.
    let usual = case
        .usual
        .smallest(case.target, 0.0, total)
        .unwrap_or(total);
    let pool_size = if case.overflows { usual } else { total };

    let is_close = now.abs_diff(total) <= tolerance(total) && now <= share;
    let is_met = meets(&current, case.target);
    let splits_well =
        !case.overflows || case.now.0.saturating_add(tolerance(pool_size)) >= pool_size;
    let verdict = match now == total || is_close {
        // One that keeps more open than it has to does no harm that is worth a change.
        true if is_met && splits_well => Verdict::Fits,
        true if is_met => Verdict::Split,
        true if now == total || need.is_none() => Verdict::Stays,
        _ if total > now => Verdict::Grow,
        _ => Verdict::Shrink,
    };
    Sizing {
        pool_size,
        max_overflow: total - pool_size,
        need,
        verdict,
    }
}

/// No size meets the target. Fewer connections are better where more of them serve less; more only
/// where they serve notably more. But what did well is not given up for a prediction: a server whose
/// speed changes looks like one that serves less the more are in use.
fn least_bad(case: &Case<'_>, now: u32) -> u32 {
    if case.is_served {
        return now;
    }
    let Some(useful) = case.saturates_at else {
        return now;
    };
    let useful = useful.clamp(1, Settings::MAX_CONNECTIONS);
    let gains = || case.peak.at(useful).utilization < (1.0 - GAIN) * case.peak.at(now).utilization;
    if useful < now || gains() { useful } else { now }
}

/// Where it is not understood what holds do to each other, a size that is not far from the one observed.
fn near(known: Option<(u32, u32)>, total: u32) -> u32 {
    match known {
        Some((least, most)) => total.clamp(least, most),
        None => total,
    }
}

fn tolerance(connections: u32) -> u32 {
    (connections * CLOSE_PCT / 100).max(1)
}

/// By which factor holds must become shorter for so many connections to meet the target; `None`
/// where no factor is enough, and 1 where they do already.
///
/// With holds `x` times as long everything happens `1 / x` times as fast: it is the load with `x`
/// times the arrivals, and its waits are `x` times as long.
pub(super) fn shorter_holds(demand: Demand<'_>, connections: u32, target: f64) -> Option<f64> {
    let does = |factor: f64| {
        let times = demand.times * factor;
        factor * demand.forecast.at(connections, times).p95 <= target
    };
    if does(1.0) {
        return Some(1.0);
    }
    let (mut good, mut bad) = (0.01, 1.0);
    if !does(good) {
        return None;
    }
    while bad - good > 0.005 {
        let middle = f64::midpoint(good, bad);
        match does(middle) {
            true => good = middle,
            false => bad = middle,
        }
    }
    Some(good)
}

#[cfg(test)]
mod tests;
