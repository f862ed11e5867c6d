//! How evenly connections come back: the time that so many check-ins in a row take.
//!
//! Counted in check-ins and not in seconds, it is as long as it has to be for a service of any speed.

use crate::observe::clock::seconds;
use crate::observe::load::{AtLevel, Load};

#[derive(Debug)]
pub(super) struct Run {
    begins: u64,
    /// The integral of the level up to then.
    integral: u64,
    /// Check-ins until it is complete.
    left: u32,
    /// The fewest in use since it began.
    least: u32,
}

impl Run {
    pub(super) fn new(begins: u64, integral: u64, level: u32) -> Self {
        Self {
            begins,
            integral,
            left: Load::RUN,
            least: level,
        }
    }

    pub(super) fn level_is(&mut self, level: u32) {
        self.least = self.least.min(level);
    }

    /// One came back from this level, which has an entry.
    pub(super) fn returned(&mut self, now: u64, integral: u64, level: u32, levels: &mut [AtLevel]) {
        self.left -= 1;
        if self.left > 0 {
            return;
        }
        if let Some(at) = levels.get_mut(Load::index_of(self.least)) {
            at.runs.add(seconds(now.saturating_sub(self.begins)));
            at.run_used += seconds(integral.wrapping_sub(self.integral));
        }
        *self = Self::new(now, integral, level);
    }
}
