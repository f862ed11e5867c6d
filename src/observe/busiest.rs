//! The busiest five minutes of the last day: the best of each hour is kept.

use std::collections::VecDeque;
use std::sync::Arc;

use super::clock::{MINUTE, seconds};
use super::load::Load;

const MINUTES: usize = 5;
const HOUR: u64 = 60 * MINUTE;
const DAY: u64 = 24 * HOUR;

/// The best of each of the last 24 hours in which there was any demand. A second-best of the same
/// hour does not come in its place when it is a day old.
#[derive(Debug, Default)]
pub(super) struct Busiest(VecDeque<Best>);

#[derive(Debug)]
struct Best {
    ended: u64,
    /// In connection-seconds.
    demand: f64,
    load: Arc<Load>,
}

impl Busiest {
    /// A minute has ended: the last of these.
    pub(super) fn minute_ended(&mut self, minutes: &VecDeque<Arc<Load>>, ended: u64) {
        self.forget(ended);
        // A pool's first minutes are often not like any later ones, and would be kept for a day.
        let Some(skipped) = minutes.len().checked_sub(MINUTES) else {
            return;
        };
        // A minute in which nobody asked adds nothing to those before, which have been looked at. But
        // for the first five: of a young pool they may be all there is.
        let is_idle = minutes.back().is_none_or(|last| last.arrivals == 0);
        if is_idle && skipped > 0 {
            return;
        }
        let mut load = Load::default();
        for minute in minutes.iter().skip(skipped) {
            load.merge(minute);
        }
        if load.arrivals == 0 {
            return;
        }
        let demand = load.demand();
        let hour = |at: u64| at.saturating_sub(1) / HOUR;
        let of_this_hour = self
            .0
            .back_mut()
            .filter(|best| hour(best.ended) == hour(ended));
        let best = Best {
            ended,
            demand,
            load: Arc::new(load),
        };
        match of_this_hour {
            Some(known) if known.demand >= demand => {}
            Some(known) => *known = best,
            None => self.0.push_back(best),
        }
    }

    /// The best of all, and how many seconds ago it ended.
    pub(super) fn read(&self, now: u64) -> Option<(Arc<Load>, f64)> {
        let recent = self.0.iter().filter(|best| best.ended + DAY > now);
        let best = recent.max_by(|a, b| a.demand.total_cmp(&b.demand))?;
        let ago = seconds(now.saturating_sub(best.ended));
        Some((Arc::clone(&best.load), ago))
    }

    fn forget(&mut self, now: u64) {
        while self.0.front().is_some_and(|best| best.ended + DAY <= now) {
            self.0.pop_front();
        }
    }
}

#[cfg(test)]
impl Busiest {
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }
}
