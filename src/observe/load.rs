//! What is learned of the load: plain figures of one stretch of time, which can be added up.

use std::time::Duration;

use super::histogram::Histogram;

/// How a quantity varies: enough for its mean and its squared coefficient of variation.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct Moments {
    pub(crate) count: u64,
    pub(crate) sum: f64,
    pub(crate) squares: f64,
}

impl Moments {
    pub(crate) fn add(&mut self, value: f64) {
        self.count += 1;
        self.sum += value;
        self.squares += value * value;
    }

    pub(crate) fn merge(&mut self, other: &Self) {
        self.count += other.count;
        self.sum += other.sum;
        self.squares += other.squares;
    }

    pub(crate) fn mean(&self) -> Option<f64> {
        (self.count > 0).then(|| self.sum / self.count as f64)
    }

    /// Variance over the squared mean: 0 for what never varies, 1 for an exponential distribution.
    pub(crate) fn squared_variation(&self) -> Option<f64> {
        let mean = self.mean().filter(|mean| *mean > 0.0)?;
        let variance = self.squares / self.count as f64 - mean * mean;
        (self.count > 1).then(|| (variance / (mean * mean)).max(0.0))
    }
}

/// What happened while so many connections were in use.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct AtLevel {
    /// Time spent with exactly so many in use, in seconds.
    pub(crate) seconds: f64,
    /// Connections that came back from this level.
    pub(crate) completions: u64,
    /// Holds during which so many were in use on average (each counts itself, so 1 at least).
    pub(crate) holds: u64,
    /// Their whole time, in seconds.
    pub(crate) held: f64,
    /// Of `held`, the part of which it is known how long the database was at work (exactly, where
    /// there is a wire).
    pub(crate) measured: f64,
    /// Of `measured`, the time the database was at work.
    pub(crate) busy: f64,
}

impl AtLevel {
    pub(crate) fn merge(&mut self, other: &Self) {
        self.seconds += other.seconds;
        self.completions += other.completions;
        self.holds += other.holds;
        self.held += other.held;
        self.measured += other.measured;
        self.busy += other.busy;
    }
}

/// How unevenly arrivals come, counted in bins of one length: `squares` is the sum of the squared
/// counts of all `bins`, the empty ones included.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct Counts {
    pub(crate) bins: u64,
    pub(crate) arrivals: u64,
    pub(crate) squares: f64,
}

impl Counts {
    pub(crate) fn merge(&mut self, other: &Self) {
        self.bins += other.bins;
        self.arrivals += other.arrivals;
        self.squares += other.squares;
    }

    /// Variance of the counts over their mean: 1 for Poisson arrivals, more for bursts.
    pub(crate) fn dispersion(&self) -> Option<f64> {
        let mean = self.arrivals as f64 / self.bins as f64;
        let variance = self.squares / self.bins as f64 - mean * mean;
        (self.bins > 1 && mean > 0.0).then(|| (variance / mean).max(0.0))
    }
}

/// A few seconds of a load: so much that its rate can be told from the next one's.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct Block {
    pub(crate) seconds: f64,
    pub(crate) arrivals: u64,
}

/// What was learned of one stretch of time.
#[derive(Debug, Clone, Default)]
pub(crate) struct Load {
    /// Time covered, in seconds.
    pub(crate) seconds: f64,
    /// Checkouts asked for, whatever became of them: those that timed out or were shed are demand.
    pub(crate) arrivals: u64,
    /// Of these, those that were shed or timed out.
    pub(crate) unserved: u64,
    /// Time between one arrival and the next, in seconds.
    pub(crate) between: Moments,
    /// Time held, in seconds.
    pub(crate) held: Moments,
    /// By connections in use: `levels[n]` with `n` of them. Above
    /// [`EXACT`](Self::EXACT) several share an entry, see [`level_of`](Self::level_of).
    pub(crate) levels: Vec<AtLevel>,
    /// Arrivals in bins of [`BINS`](Self::BINS).
    pub(crate) counts: [Counts; 3],
    /// Arrivals of each [`BLOCK`](Self::BLOCK), the oldest first.
    pub(crate) blocks: Vec<Block>,
    /// Time queued of every checkout that was served or timed out; zero for those that did not
    /// have to queue.
    pub(crate) queued: Histogram,
    /// Connections allowed at once, if they were the same throughout.
    pub(crate) limit: Option<u32>,
}

impl Load {
    /// Up to here each level has an entry of its own.
    pub(crate) const EXACT: usize = 128;
    pub(crate) const BINS: [Duration; 3] = [
        Duration::from_millis(10),
        Duration::from_millis(100),
        Duration::from_secs(1),
    ];
    pub(crate) const BLOCK: Duration = Duration::from_secs(5);

    /// Checkouts asked for per second.
    pub(crate) fn arrival_rate(&self) -> f64 {
        if self.seconds > 0.0 {
            self.arrivals as f64 / self.seconds
        } else {
            0.0
        }
    }
}

/// The windows that advice is given over.
#[derive(Debug, Clone, Default)]
pub(crate) struct Loads {
    pub(crate) minute: Load,
    pub(crate) five_minutes: Load,
    pub(crate) hour: Load,
    /// The five minutes of most demand within the last 24 hours: those of `five_minutes`, if none
    /// was busier.
    pub(crate) busiest: Load,
    /// When `busiest` ended, in seconds before now.
    pub(crate) busiest_ended: f64,
}
