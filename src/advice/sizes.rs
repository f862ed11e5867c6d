//! The sizing rules: compute a size from a model's predictions, without clock, lock or I/O.

use super::learned::Forecast;
use super::model::{Prediction, smallest};
use crate::settings::Settings;

/// A size that differs from the best one by at most this percentage, or by one, is kept.
const CLOSE_PCT: u32 = 10;
/// More connections are useful if they lower the utilization by at least this share.
const GAIN: f64 = 0.05;
/// Fewer connections may lower the throughput by at most this share.
const LOSS: f64 = 0.05;

/// A load and the model that predicts its waits.
#[derive(Clone, Copy)]
pub(super) struct Demand<'a> {
    pub(super) forecast: &'a dyn Forecast,
    /// The factor by which to multiply the recorded arrivals.
    pub(super) times: f64,
}

impl Demand<'_> {
    /// Predicts the waits with this many connections.
    pub(super) fn at(&self, connections: u32) -> Prediction {
        self.forecast.at(connections, self.times)
    }

    /// Predicts the same with the holds of these call sites half as long.
    pub(super) fn halved(&self, places: &[u16], connections: u32) -> Prediction {
        self.forecast.halved(places, connections, self.times)
    }

    /// Returns the smallest size up to `most` that meets the target and serves at least `least`
    /// checkouts per second.
    fn smallest(&self, target: f64, least: f64, most: u32) -> Option<u32> {
        smallest(most, |connections| {
            let prediction = self.at(connections);
            meets(&prediction, target) && prediction.served >= least
        })
    }
}

/// The input of the sizing rules.
#[derive(Clone, Copy)]
pub(super) struct Case<'a> {
    /// The largest load to plan for.
    pub(super) peak: Demand<'a>,
    /// The usual load.
    pub(super) usual: Demand<'a>,
    /// The target for the p95 of the wait in the queue, in seconds.
    pub(super) target: f64,
    /// The level beyond which more connections serve practically no more, if any.
    pub(super) saturates_at: Option<u32>,
    /// The most connections that the server grants to this pool, if limited.
    pub(super) share: Option<u32>,
    /// The range of sizes near the observed one, if the model cannot predict others.
    pub(super) known: Option<(u32, u32)>,
    /// Whether the measured waits at the size in force met the target.
    pub(super) is_served: bool,
    /// The size and the overflow in force.
    pub(super) now: (u32, u32),
    /// Whether the pool has an overflow setting.
    pub(super) overflows: bool,
}

/// How to change the size.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum SizeChange {
    /// Keep the size: it meets the target and is close to the best.
    Fits,
    /// Keep the size although it misses the target: no other allowed size is better.
    Stays,
    /// Keep the total, but keep more connections open.
    Split,
    Grow,
    Shrink,
}

/// The recommended size.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Sizing {
    pub(super) pool_size: u32,
    pub(super) max_overflow: u32,
    /// The smallest size that meets the target, regardless of the server's limits; `None` if no size
    /// does.
    pub(super) need: Option<u32>,
    pub(super) verdict: SizeChange,
}

impl Sizing {
    pub(super) fn total(&self) -> u32 {
        self.pool_size + self.max_overflow
    }

    /// Returns whether the settings should be changed.
    pub(super) fn changes(&self) -> bool {
        !matches!(self.verdict, SizeChange::Fits | SizeChange::Stays)
    }

    /// Returns whether the recommended size is smaller than needed.
    pub(super) fn is_capped(&self) -> bool {
        self.need.is_some_and(|need| need > self.total())
    }
}

/// Returns whether the predicted p95 is within the target.
pub(super) fn meets(prediction: &Prediction, target: f64) -> bool {
    prediction.p95 <= target
}

/// Computes the recommended size.
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
    // Connections beyond the usual load are opened as overflow when needed.
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
        // Keeping more connections open than needed is not worth a change.
        true if is_met && splits_well => SizeChange::Fits,
        true if is_met => SizeChange::Split,
        true if now == total || need.is_none() => SizeChange::Stays,
        _ if total > now => SizeChange::Grow,
        _ => SizeChange::Shrink,
    };
    Sizing {
        pool_size,
        max_overflow: total - pool_size,
        need,
        verdict,
    }
}

/// Returns the best size if none meets the target. Fewer connections are better if more of them serve
/// less; more connections only if they serve notably more. A size that met the target when it was
/// measured is kept despite the prediction, because a server of varying speed looks like one that
/// serves less the more connections are in use.
fn least_bad(case: &Case<'_>, now: u32) -> u32 {
    let Some(useful) = case.saturates_at.filter(|_| !case.is_served) else {
        return now;
    };
    let useful = useful.clamp(1, Settings::MAX_CONNECTIONS);
    let gains = || case.peak.at(useful).utilization < (1.0 - GAIN) * case.peak.at(now).utilization;
    if useful < now || gains() { useful } else { now }
}

/// Limits the size to the range near the observed one, if the model cannot predict others.
fn near(known: Option<(u32, u32)>, total: u32) -> u32 {
    known.map_or(total, |(least, most)| total.clamp(least, most))
}

fn tolerance(connections: u32) -> u32 {
    (connections * CLOSE_PCT / 100).max(1)
}

/// Returns by how many percent holds must be shorter, so that this many connections meet the target; 0
/// if they already do, and `None` if 99 is not enough.
///
/// With holds `x` times as long, everything happens `1 / x` times as fast: this equals the load with
/// `x` times the arrivals, with waits `x` times as long.
pub(super) fn shorter_holds(demand: Demand<'_>, connections: u32, target: f64) -> Option<u32> {
    let is_enough = |percent: u32| {
        let factor = f64::from(100 - percent) / 100.0;
        let prediction = demand.forecast.at(connections, demand.times * factor);
        factor * prediction.p95 <= target
    };
    match is_enough(0) {
        true => Some(0),
        false => smallest(99, is_enough),
    }
}

#[cfg(test)]
mod tests;
