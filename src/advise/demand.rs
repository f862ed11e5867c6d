//! How arrivals come: their rate from block to block, and their bursts within one.

use super::bursts::{Bursts, Seen, explain};
use crate::observe::load::{Block, Load};

/// Bounds of what is believed of a squared variation.
const LEAST: f64 = 0.05;
const MOST: f64 = 100.0;

/// Beyond so many blocks they are taken together.
const BLOCKS: usize = 4096;

/// No load was observed for this long, in seconds.
const LONGEST: f64 = 1e9;

/// Arrivals a second, of any application.
const POSSIBLE: std::ops::RangeInclusive<f64> = 1e-6..=1e12;

#[derive(Debug, Clone)]
pub(super) struct Demand {
    /// Arrivals per second.
    pub(super) rate: f64,
    /// Seconds observed.
    pub(super) seconds: f64,
    /// The blocks in their order: seconds, and the rate over the mean rate.
    pub(super) blocks: Vec<(f64, f64)>,
    pub(super) bursts: Option<Bursts>,
    /// Variance over mean of the counts, by the length of the bins.
    dispersion: Vec<Seen>,
}

impl Demand {
    /// None without a rate.
    pub(super) fn learn(load: &Load) -> Option<Self> {
        let rate = load.arrival_rate();
        if !POSSIBLE.contains(&rate) || load.seconds >= LONGEST {
            return None;
        }
        let blocks: Vec<&Block> = load
            .blocks
            .iter()
            .filter(|b| b.seconds > 0.0 && b.seconds < LONGEST)
            .take(BLOCKS)
            .collect();
        let mut dispersion: Vec<Seen> = load
            .counts
            .iter()
            .zip(Load::BINS)
            .filter_map(|(counts, length)| {
                let bins = counts.bins as f64;
                Some(Seen {
                    seconds: length.as_secs_f64(),
                    dispersion: counts.dispersion()? * bins / (bins - 1.0),
                    bins,
                })
            })
            .collect();
        let between_blocks = of_blocks(&blocks);
        let widest = dispersion.last().map_or(1.0, |seen| seen.dispersion);
        // Blocks that vary less than what is within them: it comes and goes as often in each, and
        // no rate changes from one to the next.
        let steady = between_blocks.is_none_or(|seen| seen.dispersion < widest);
        dispersion.extend(between_blocks.filter(|_| !steady));
        dispersion.retain(|seen| seen.dispersion.is_finite() && seen.bins > 1.0);
        let (bursts, slow) = explain(rate, &dispersion, steady);
        Some(Self {
            rate,
            seconds: load.seconds,
            blocks: without_noise(&blocks, slow),
            bursts,
            dispersion,
        })
    }

    /// The index of dispersion in the long run, what varies from block to block left out.
    pub(super) fn lasting_variation(&self) -> f64 {
        match &self.bursts {
            Some(bursts) => bursts.dispersion(self.rate, f64::INFINITY).max(1.0),
            None => 1.0,
        }
    }

    /// The index of dispersion at this length, on a line through those seen in the logarithm of the
    /// length; what varies from block to block is left out.
    pub(super) fn variation(&self, seconds: f64) -> f64 {
        if let Some(bursts) = &self.bursts {
            return bursts.dispersion(self.rate, seconds).clamp(LEAST, MOST);
        }
        let seen = &self.dispersion;
        let after = seen.partition_point(|s| s.seconds < seconds);
        let found = match (after.checked_sub(1).map(|i| seen[i]), seen.get(after)) {
            (Some(a), Some(b)) => {
                let along = (seconds / a.seconds).ln() / (b.seconds / a.seconds).ln();
                a.dispersion + (b.dispersion - a.dispersion) * along
            }
            (Some(only), None) => only.dispersion,
            (None, Some(only)) => only.dispersion,
            (None, None) => 1.0,
        };
        if found.is_finite() {
            found.clamp(LEAST, 1.0)
        } else {
            1.0
        }
    }
}

/// The dispersion of the blocks' counts.
fn of_blocks(blocks: &[&Block]) -> Option<Seen> {
    let seconds: f64 = blocks.iter().map(|b| b.seconds).sum();
    let arrivals: f64 = blocks.iter().map(|b| b.arrivals as f64).sum();
    let (rate, bins) = (arrivals / seconds, blocks.len() as f64);
    (bins > 1.0 && rate > 0.0).then(|| Seen {
        seconds: seconds / bins,
        dispersion: blocks
            .iter()
            .map(|b| (b.arrivals as f64 - rate * b.seconds).powi(2) / (rate * b.seconds))
            .sum::<f64>()
            / (bins - 1.0),
        bins,
    })
}

/// The blocks' rates over their mean, drawn to it until they vary only as much as the rate does.
fn without_noise(blocks: &[&Block], slow: f64) -> Vec<(f64, f64)> {
    let seconds: f64 = blocks.iter().map(|b| b.seconds).sum();
    let arrivals: f64 = blocks.iter().map(|b| b.arrivals as f64).sum();
    let mean = arrivals / seconds;
    if !(mean.is_finite() && mean > 0.0) {
        return Vec::new();
    }
    let rates = || {
        blocks
            .iter()
            .map(|b| (b.seconds, b.arrivals as f64 / b.seconds / mean))
    };
    let variance: f64 = rates().map(|(s, r)| s * (r - 1.0).powi(2)).sum::<f64>() / seconds;
    let wanted = slow / mean;
    let keep = if variance > 0.0 {
        (wanted / variance).clamp(0.0, 1.0).sqrt()
    } else {
        0.0
    };
    rates().map(|(s, r)| (s, 1.0 + keep * (r - 1.0))).collect()
}
