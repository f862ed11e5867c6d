//! When the queue is too slow, and who is then turned away.
//!
//! The rule is CoDel's (Nichols and Jacobson, *Controlling Queue Delay*, 2012), in the form that
//! Ecto's `DBConnection` gave it: a queue is too slow when nobody at all was let in within a whole
//! interval who had queued for less than the target. A burst makes some wait and others not; load
//! that is more than the pool can serve makes everybody wait.
//!
//! While it is too slow, whoever has queued for twice the target is turned away, and so is a
//! newcomer who would have to, by the rate at which others were let in: waiting in vain helps nobody.

use std::time::Duration;

use tokio::time::Instant;

#[derive(Debug, Clone, Copy)]
pub(super) struct Shedding {
    target: Duration,
    interval: Duration,
    /// The shortest time queued, of those let in since the interval began.
    shortest: Option<Duration>,
    /// How many were let in since it began, and per second in the one before.
    let_in: u32,
    rate: f64,
    began: Option<Instant>,
    /// What was queued before this does not count: the gate was shut.
    opened: Option<Instant>,
    slow: bool,
}

impl Shedding {
    pub(super) fn new(target: Duration, interval: Duration) -> Self {
        Self {
            target,
            interval,
            shortest: None,
            let_in: 0,
            rate: 0.0,
            began: None,
            opened: None,
            slow: false,
        }
    }

    /// When a waiter should ask whether it is still of use to wait.
    pub(super) fn patience(&self) -> Duration {
        self.target.saturating_mul(2)
    }

    /// How long it then waits before it asks again.
    pub(super) fn interval(&self) -> Duration {
        self.interval
    }

    /// How long somebody has queued, the time in which nobody was let in on purpose left out.
    pub(super) fn queued(&self, since: Instant, now: Instant) -> Duration {
        let since = self.opened.map_or(since, |opened| opened.max(since));
        now.saturating_duration_since(since)
    }

    /// Somebody did not have to queue.
    pub(super) fn let_in_at_once(&mut self) {
        self.let_in(Duration::ZERO);
    }

    pub(super) fn let_in(&mut self, queued: Duration) {
        // Before the first had to queue there was no queue to judge.
        if self.began.is_none() {
            return;
        }
        self.let_in += 1;
        self.shortest = Some(self.shortest.map_or(queued, |least| least.min(queued)));
    }

    /// Whether one who has queued for so long is turned away. `oldest`: since when the first in the
    /// queue waits.
    pub(super) fn sheds(
        &mut self,
        queued: Duration,
        now: Instant,
        oldest: Option<Instant>,
    ) -> bool {
        self.advance(now, oldest);
        self.slow && queued >= self.patience()
    }

    /// Whether one who comes now, behind `pending` others, would have to wait for too long.
    pub(super) fn turns_away(
        &mut self,
        now: Instant,
        pending: u32,
        oldest: Option<Instant>,
    ) -> bool {
        self.advance(now, oldest);
        self.slow && f64::from(pending) >= self.rate * self.patience().as_secs_f64()
    }

    pub(super) fn begin_anew(&mut self, now: Instant) {
        *self = Self {
            opened: Some(now),
            began: Some(now),
            ..Self::new(self.target, self.interval)
        };
    }

    /// Judges the interval that has passed, if one has.
    fn advance(&mut self, now: Instant, oldest: Option<Instant>) {
        let began = *self.began.get_or_insert(now);
        let passed = now.saturating_duration_since(began);
        if passed < self.interval {
            return;
        }
        // Nobody was let in: either nobody came, or nothing moves.
        let oldest = oldest.map_or(Duration::ZERO, |since| self.queued(since, now));
        self.slow = self.shortest.unwrap_or(oldest) > self.target;
        self.rate = f64::from(self.let_in) / passed.as_secs_f64();
        (self.shortest, self.let_in) = (None, 0);
        self.began = Some(now);
    }
}
