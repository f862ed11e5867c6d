//! How minutes end: each is closed for good, also those in which nothing happened.

use std::sync::Arc;

use super::{MINUTES, Occupancy, fresh};
use crate::observe::bins::Bins;
use crate::observe::clock::{MINUTE, seconds};
use crate::observe::load::{AtLevel, Load};

impl Occupancy {
    /// Closes the minutes that have ended. Of a long silence all but the first are alike, and no
    /// more of them are made than are kept.
    #[cold]
    pub(super) fn close_until(&mut self, now: u64, limit: u32) {
        let limit_before = self.limit;
        self.limit_is(limit);
        self.close_one();
        let silent = (now - self.begins) / MINUTE;
        if silent == 0 {
            return;
        }
        // If the limit has changed, and nobody told, it is not known when.
        let limit = self.limit.filter(|_| self.limit == limit_before);
        let mut alike = fresh(limit);
        alike.most = self.wanted;
        alike.levels.resize(self.index + 1, AtLevel::default());
        if let Some(at) = alike.levels.last_mut() {
            at.seconds = seconds(MINUTE);
        }
        Bins::new(self.begins).close(self.begins + MINUTE, &mut alike);
        alike.seconds = seconds(MINUTE);
        let alike = Arc::new(alike);
        for _ in 0..silent.min(MINUTES as u64) {
            self.push(Arc::clone(&alike));
            self.begin(self.begins + MINUTE);
        }
        let rest = self.begins + silent.saturating_sub(MINUTES as u64) * MINUTE;
        self.integrate_unseen(rest);
        self.begin(rest);
    }

    fn close_one(&mut self) {
        self.integrate(self.ends);
        let mut minute = self.current_until(self.ends);
        minute.levels.shrink_to_fit();
        self.push(Arc::new(minute));
        self.begin(self.ends);
        self.current = fresh(self.limit);
        self.current.most = self.wanted;
        self.times.clear();
        self.unqueued = 0;
        self.reserve(self.index);
    }

    fn push(&mut self, minute: Arc<Load>) {
        if self.minutes.len() == MINUTES {
            self.minutes.pop_front();
        }
        self.minutes.push_back(minute);
        self.busiest.minute_ended(&self.minutes, self.ends);
    }

    /// A new minute begins, of which nothing is written yet.
    fn begin(&mut self, at: u64) {
        (self.begins, self.ends) = (at, at + MINUTE);
        self.bins = Bins::new(at);
    }

    /// Time that no minute is kept of.
    fn integrate_unseen(&mut self, until: u64) {
        let time = until.saturating_sub(self.integrated);
        self.integral = self
            .integral
            .wrapping_add(time.wrapping_mul(u64::from(self.level)));
        self.integrated = self.integrated.max(until);
    }
}
