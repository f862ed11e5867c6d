//! What is read of the record: its windows, added up from the minutes outside of the lock.

use std::sync::Arc;

use super::MINUTES;
use crate::observe::load::{Load, Loads};

/// A copy of what is known, taken under the lock to be added up outside of it.
#[derive(Debug)]
pub(crate) struct Reading {
    /// Those that are complete, the newest last.
    pub(crate) minutes: Vec<Arc<Load>>,
    /// How many have ended since the start.
    pub(crate) ended: u64,
    /// The one that is being written.
    pub(crate) current: Load,
    /// The busiest five minutes, and how long ago they ended.
    pub(super) busiest: Option<(Arc<Load>, f64)>,
}

impl Reading {
    /// The windows: the current minute, and as many before as their names say.
    pub(crate) fn loads(&self) -> Loads {
        let five_minutes = self.last(5);
        let (busiest, busiest_ended) = match &self.busiest {
            Some((load, ended)) if rate(load) > rate(&five_minutes) => ((**load).clone(), *ended),
            _ => (five_minutes.clone(), 0.0),
        };
        Loads {
            minute: self.last(1),
            hour: self.last(MINUTES),
            five_minutes,
            busiest,
            busiest_ended,
        }
    }

    fn last(&self, minutes: usize) -> Load {
        let skipped = self.minutes.len().saturating_sub(minutes);
        let mut sum = Load::default();
        for minute in self.minutes.iter().skip(skipped) {
            sum.merge(minute);
        }
        sum.merge(&self.current);
        sum
    }
}

/// Demand in connections: not all windows are of one length.
fn rate(load: &Load) -> f64 {
    if load.seconds > 0.0 {
        load.demand() / load.seconds
    } else {
        0.0
    }
}
