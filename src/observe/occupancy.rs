//! The record that advice is learned from: how long how many connections were in use, what came back
//! from there, and how the arrivals came.
//!
//! One minute is written at a time. When it ends it is closed for good and joins a ring of sixty,
//! from which the windows are added up outside the lock. All minutes, blocks and bins begin at
//! multiples of their length after the start of the pool, so that each lies within one of the next.

mod minutes;
#[cfg(test)]
mod models;
mod reading;
mod run;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod written;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use super::bins::Bins;
use super::busiest::Busiest;
use super::clock::{MINUTE, nanos, seconds};
use super::load::{AtLevel, Load};

pub(crate) use self::reading::Reading;
use self::run::Run;

/// Closed minutes that are kept.
const MINUTES: usize = 60;

/// Between two arrivals that are further apart there was no load that could vary: one night would
/// outweigh all that is known of the day. Such a pause is not one of the times between arrivals.
const PAUSE: u64 = MINUTE;

/// The minute that is being written, and those before. Times are those of the pool's
/// [clock](super::clock).
#[derive(Debug)]
pub(crate) struct Occupancy {
    current: Load,
    /// Its time by level: nothing is waited for when integers are added.
    times: Vec<u64>,
    /// When the current minute began, and when it ends.
    begins: u64,
    ends: u64,
    /// Where the clock stands, for whoever tells something. Two threads may come in another order
    /// than they looked at the clock.
    now: u64,
    /// Up to here the level has been integrated.
    integrated: u64,
    level: u32,
    /// The level, and those who wait.
    wanted: u32,
    /// The entry of the level.
    index: usize,
    /// Level by time since the start. It may overflow, for only differences are of use, and no hold
    /// lasts that long.
    integral: u64,
    last_arrival: Option<u64>,
    bins: Bins,
    run: Run,
    /// Checkouts of this minute that did not have to queue: more than one field is not written for
    /// each of them.
    unqueued: u64,
    /// Connections allowed, as far as it is known.
    limit: Option<u32>,
    minutes: VecDeque<Arc<Load>>,
    busiest: Busiest,
}

/// A connection that came back.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Hold {
    pub(crate) held: Duration,
    /// How long the database was at work, where it is known.
    pub(crate) busy: Option<Duration>,
    /// What [`Occupancy::granted`] had said.
    pub(crate) began: Began,
}

/// When a hold began, by the record's own time: another thread may have brought it further than the
/// holder's clock.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Began {
    at: u64,
    /// The integral of the level by then.
    integral: u64,
}

impl Occupancy {
    /// A record that begins with the clock, with so many connections allowed.
    pub(crate) fn new(limit: u32) -> Self {
        let limit = known(limit);
        Self {
            current: Load {
                levels: vec![AtLevel::default()],
                ..fresh(limit)
            },
            times: vec![0],
            begins: 0,
            ends: MINUTE,
            now: 0,
            integrated: 0,
            level: 0,
            wanted: 0,
            index: 0,
            integral: 0,
            last_arrival: None,
            bins: Bins::new(0),
            run: Run::new(0, 0, 0),
            unqueued: 0,
            limit,
            minutes: VecDeque::new(),
            busiest: Busiest::default(),
        }
    }

    /// Brings the record up to `now`. The limit is asked for only when a minute has ended.
    /// Whatever is told afterwards happens then.
    pub(crate) fn advance(&mut self, now: u64, limit: impl FnOnce() -> u32) {
        self.now = now;
        if now >= self.ends {
            self.close_until(now, limit());
        }
        self.integrate(now);
    }

    /// So many connections are in use from now on, and so many are waited for.
    pub(crate) fn set_level(&mut self, level: u32, waiting: u32) {
        self.wanted = level.saturating_add(waiting);
        self.current.most = self.current.most.max(self.wanted);
        if level == self.level {
            return;
        }
        self.level = level;
        self.run.level_is(level);
        self.index = Load::index_of(level);
        self.reserve(self.index);
    }

    /// Somebody asked for a connection, so long ago. Each is told once: when it begins to wait, or
    /// when it is answered without a wait.
    pub(crate) fn arrived(&mut self, ago: Duration) {
        let asked = self.now.saturating_sub(nanos(ago));
        self.current.arrivals += 1;
        self.bins.arrived(asked, &mut self.current);
        match &mut self.last_arrival {
            Some(last) => {
                // Written down in another order than asked, they came at once.
                let since = asked.saturating_sub(*last);
                *last = asked.max(*last);
                if since <= PAUSE {
                    self.current.between.add(seconds(since));
                }
            }
            none => *none = Some(asked),
        }
    }

    /// Somebody got a connection, after so much time in the queue. Says what the hold will want to
    /// know when it ends.
    pub(crate) fn granted(&mut self, queued: Duration) -> Began {
        if queued.is_zero() {
            self.unqueued += 1;
        } else {
            self.current.queued.record(queued);
        }
        Began {
            at: self.integrated,
            integral: self.integral,
        }
    }

    /// Somebody was shed, or has timed out after so long a wait.
    pub(crate) fn unserved(&mut self, timed_out: Option<Duration>) {
        self.current.unserved += 1;
        if let Some(waited) = timed_out {
            self.current.queued.record(waited);
        }
    }

    /// Somebody stopped to wait for their turn, which was still to come.
    pub(crate) fn gave_up(&mut self, waited: Duration) {
        self.current.queued.record(waited);
    }

    /// A connection came back, whose level is still the one before.
    pub(crate) fn returned(&mut self, hold: Hold) {
        let (held, busy) = (seconds(nanos(hold.held)), hold.busy);
        self.current.held.add(held);
        if let Some(at) = self.current.levels.get_mut(self.index) {
            at.completions += 1;
        }
        self.run.returned(
            self.now,
            self.integral,
            self.level,
            &mut self.current.levels,
        );
        let index = self.mean_index(hold.began);
        self.reserve(index);
        if let Some(at) = self.current.levels.get_mut(index) {
            at.holds += 1;
            at.held += held;
            if let Some(busy) = busy {
                at.measured += held;
                at.busy += seconds(nanos(busy.min(hold.held)));
            }
        }
    }

    /// So many connections are allowed, by now.
    pub(crate) fn limit_is(&mut self, limit: u32) {
        let limit = known(limit);
        if limit != self.limit {
            self.limit = limit;
            self.current.limit = None;
        }
    }

    /// All there is, as of the moment that the record was brought up to.
    pub(crate) fn read(&self) -> Reading {
        let now = self.integrated;
        Reading {
            minutes: self.minutes.iter().cloned().collect(),
            ended: self.begins / MINUTE,
            current: self.current_until(now),
            busiest: self.busiest.read(now),
        }
    }

    /// The entry of the mean level during a hold, by time. The hold itself is part of it.
    fn mean_index(&self, began: Began) -> usize {
        let nanos = self.integrated.saturating_sub(began.at);
        let used = self.integral.wrapping_sub(began.integral);
        // Mostly nobody else came or went, and then nothing has to be divided.
        if nanos == 0 || used == nanos.wrapping_mul(u64::from(self.level)) {
            return self.index;
        }
        let mean = (used as f64 / nanos as f64).round();
        Load::index_of((mean as u32).max(1))
    }

    fn reserve(&mut self, index: usize) {
        if index >= self.current.levels.len() {
            self.current.levels.resize(index + 1, AtLevel::default());
            self.times.resize(index + 1, 0);
        }
    }

    fn integrate(&mut self, until: u64) {
        if until <= self.integrated {
            return;
        }
        let time = until - self.integrated;
        self.integrated = until;
        self.integral = self
            .integral
            .wrapping_add(time.wrapping_mul(u64::from(self.level)));
        if let Some(at) = self.times.get_mut(self.index) {
            *at += time;
        }
    }

    /// The current minute as if it ended at `at`, which is not beyond its end.
    fn current_until(&self, at: u64) -> Load {
        let mut load = self.current.clone();
        load.seconds = seconds(at.saturating_sub(self.begins));
        load.queued.record_zeros(self.unqueued);
        for (at, time) in load.levels.iter_mut().zip(&self.times) {
            at.seconds = seconds(*time);
        }
        self.bins.clone().close(at, &mut load);
        load
    }
}

/// An inventory that does not know says zero.
fn known(limit: u32) -> Option<u32> {
    (limit > 0).then_some(limit)
}

fn fresh(limit: Option<u32>) -> Load {
    Load {
        limit,
        ..Load::default()
    }
}
