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
    /// How long [`RUN`](Load::RUN) check-ins in a row took with never fewer in use, and so many once.
    pub(crate) runs: Moments,
    /// Their time in use, in connection-seconds.
    pub(crate) run_used: f64,
}

impl AtLevel {
    pub(crate) fn merge(&mut self, other: &Self) {
        self.seconds += other.seconds;
        self.completions += other.completions;
        self.holds += other.holds;
        self.held += other.held;
        self.measured += other.measured;
        self.busy += other.busy;
        self.runs.merge(&other.runs);
        self.run_used += other.run_used;
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
    /// Time queued of every checkout that was served, timed out or was given up while it queued; zero
    /// for those that did not have to queue.
    pub(crate) queued: Histogram,
    /// The most who wanted a connection at once: those that had one, and those that waited.
    pub(crate) most: u32,
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
    /// Check-ins of a run: so many that its time is more than what was under way at its two ends.
    pub(crate) const RUN: u32 = 16;

    /// Groups of levels an octave, above [`EXACT`](Self::EXACT).
    const PER_OCTAVE: u32 = 8;

    /// Checkouts asked for per second.
    pub(crate) fn arrival_rate(&self) -> f64 {
        if self.seconds > 0.0 {
            self.arrivals as f64 / self.seconds
        } else {
            0.0
        }
    }

    /// The entry of a level.
    pub(crate) fn index_of(level: u32) -> usize {
        if level as usize <= Self::EXACT {
            return level as usize;
        }
        // The first octave is 129 to 256: counted from zero, its numbers have the same leading bit.
        let below = level - 1;
        let octave = below.ilog2() - Self::EXACT.ilog2();
        let within = (below >> (octave + 4)) % Self::PER_OCTAVE;
        Self::EXACT + 1 + (octave * Self::PER_OCTAVE + within) as usize
    }

    /// The level that an entry stands for: the middle one, where several share it.
    pub(crate) fn level_of(index: usize) -> f64 {
        let Some(group) = index.checked_sub(Self::EXACT + 1) else {
            return index as f64;
        };
        let (octave, within) = (
            group / Self::PER_OCTAVE as usize,
            group % Self::PER_OCTAVE as usize,
        );
        // No level is beyond 32 bits; whoever asks for one gets a number all the same.
        let width = 16.0 * (octave.min(1000) as f64).exp2();
        (f64::from(Self::PER_OCTAVE) + within as f64 + 0.5) * width + 0.5
    }

    /// Time in use, in connection-seconds.
    pub(crate) fn used(&self) -> f64 {
        let levels = self.levels.iter().enumerate();
        levels
            .map(|(index, at)| Self::level_of(index) * at.seconds)
            .sum()
    }

    /// What was asked for, in connection-seconds: arrivals by the mean hold. Where nothing has come
    /// back that is not known, and what was in use stands for it.
    pub(crate) fn demand(&self) -> f64 {
        match self.held.mean() {
            Some(mean) => self.arrivals as f64 * mean,
            None => self.used(),
        }
    }

    /// The time queued that 95 of 100 did not exceed, in seconds: infinite where more than the other 5
    /// were turned away. None where nobody asked.
    pub(crate) fn queued_p95(&self) -> Option<f64> {
        if self.unserved as f64 > 0.05 * self.arrivals as f64 {
            return Some(f64::INFINITY);
        }
        Some(self.queued.quantile(0.95)?.as_secs_f64())
    }

    /// Adds what was learned of a later stretch of time.
    pub(crate) fn merge(&mut self, later: &Self) {
        self.limit = match (self.seconds > 0.0, later.seconds > 0.0) {
            (false, _) => later.limit,
            (true, false) => self.limit,
            (true, true) => self.limit.filter(|limit| later.limit == Some(*limit)),
        };
        self.seconds += later.seconds;
        self.arrivals += later.arrivals;
        self.unserved += later.unserved;
        self.between.merge(&later.between);
        self.held.merge(&later.held);
        if self.levels.len() < later.levels.len() {
            self.levels.resize(later.levels.len(), AtLevel::default());
        }
        for (into, from) in self.levels.iter_mut().zip(&later.levels) {
            into.merge(from);
        }
        for (into, from) in self.counts.iter_mut().zip(&later.counts) {
            into.merge(from);
        }
        self.blocks.extend_from_slice(&later.blocks);
        self.queued.merge(&later.queued);
        self.most = self.most.max(later.most);
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

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_level_is_within_a_sixteenth_of_what_its_entry_stands_for(level in any::<u32>()) {
            let index = Load::index_of(level);
            let stands_for = Load::level_of(index);
            let off = (stands_for - f64::from(level)).abs();
            prop_assert!(off <= f64::from(level) / 16.0, "{level} is {stands_for}");
            prop_assert!(Load::index_of(level.saturating_add(1)) - index <= 1);
        }
    }

    #[test]
    fn levels_are_exact_first_and_then_eight_an_octave() {
        for level in 0..=128_u32 {
            assert_eq!(Load::index_of(level), level as usize);
            assert_eq!(Load::level_of(level as usize), f64::from(level));
        }
        let entries = [129, 144, 145, 256, 257, 288, 289].map(Load::index_of);
        assert_eq!(entries, [129, 129, 130, 136, 137, 137, 138]);
        assert_eq!((Load::level_of(129), Load::level_of(137)), (136.5, 272.5));
        assert_eq!(Load::index_of(u32::MAX), 128 + 25 * 8);
        assert!(Load::level_of(usize::MAX).is_finite());
    }

    #[test]
    fn moments_tell_the_mean_and_how_much_it_varies() {
        let mut moments = Moments::default();
        assert_eq!((moments.mean(), moments.squared_variation()), (None, None));
        moments.add(1.0);
        moments.add(3.0);
        let mut twice = moments;
        twice.merge(&moments);
        assert_eq!((twice.count, twice.mean()), (4, Some(2.0)));
        assert_eq!(twice.squared_variation(), Some(0.25));
    }

    #[test]
    fn a_limit_that_changed_is_none_and_what_is_empty_has_no_say() {
        let of = |seconds, limit| Load {
            seconds,
            limit,
            ..Load::default()
        };
        let sum = |all: &[Load]| {
            let mut sum = Load::default();
            all.iter().for_each(|load| sum.merge(load));
            (sum.seconds, sum.limit)
        };
        assert_eq!(sum(&[of(1.0, Some(5)), of(0.0, None)]), (1.0, Some(5)));
        assert_eq!(sum(&[of(1.0, Some(5)), of(2.0, Some(5))]), (3.0, Some(5)));
        assert_eq!(sum(&[of(1.0, Some(5)), of(1.0, Some(6))]), (2.0, None));
        let back = [of(1.0, Some(5)), of(1.0, Some(6)), of(1.0, Some(5))];
        assert_eq!(sum(&back), (3.0, None));
    }

    #[test]
    fn the_demand_of_what_never_came_back_is_what_was_in_use() {
        let mut load = Load {
            arrivals: 10,
            levels: vec![AtLevel::default(); 3],
            ..Load::default()
        };
        load.levels[2].seconds = 4.0;
        assert_eq!(load.demand(), 8.0);
        load.held.add(0.5);
        assert_eq!(load.demand(), 5.0);
    }
}
