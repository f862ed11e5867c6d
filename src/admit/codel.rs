//! Load shedding: detects that the queue is too slow, and chooses the checkouts to reject.
//!
//! The rule is CoDel's (Nichols and Jacobson, *Controlling Queue Delay*, 2012), in the form that
//! Ecto's `DBConnection` uses: a queue is too slow if every checkout admitted during one interval
//! queued for longer than the target. A burst delays only some checkouts. Load beyond the pool's
//! capacity delays all of them.
//!
//! While the queue is too slow, a checkout that has queued for twice the target is rejected. So is a
//! newcomer that would have to queue that long at the current admission rate, because it would wait
//! in vain.

use std::time::Duration;

use tokio::time::Instant;

#[derive(Debug, Clone, Copy)]
pub(super) struct CoDel {
    target: Duration,
    pub(super) interval: Duration,
    /// The shortest queue time among the checkouts admitted since the interval began.
    shortest: Option<Duration>,
    /// The number of checkouts admitted since the interval began.
    let_in: u32,
    /// The checkouts admitted per second in the previous interval.
    rate: f64,
    began: Option<Instant>,
    /// The end of the last suspension. Queue time before it does not count.
    opened: Option<Instant>,
    slow: bool,
}

impl CoDel {
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

    /// Returns the queue time after which a waiter checks whether it is shed: twice the target.
    pub(super) fn patience(&self) -> Duration {
        self.target.saturating_mul(2)
    }

    /// Returns how long a checkout has queued, without the time that the gate was suspended.
    pub(super) fn queued(&self, since: Instant, now: Instant) -> Duration {
        let since = self.opened.map_or(since, |opened| opened.max(since));
        now.saturating_duration_since(since)
    }

    /// Records a checkout that was admitted after queueing for `queued`.
    pub(super) fn let_in(&mut self, queued: Duration) {
        // There is no queue to assess until a checkout has had to queue.
        if self.began.is_none() {
            return;
        }
        self.let_in += 1;
        self.shortest = Some(self.shortest.map_or(queued, |least| least.min(queued)));
    }

    /// Returns whether to reject a checkout that has queued for `queued`. `oldest` is the instant at
    /// which the oldest waiter joined the queue.
    pub(super) fn sheds(
        &mut self,
        queued: Duration,
        now: Instant,
        oldest: Option<Instant>,
    ) -> bool {
        self.advance(now, oldest);
        self.slow && queued >= self.patience()
    }

    /// Returns whether to reject a newcomer behind `pending` others, because it would have to queue
    /// for too long.
    pub(super) fn turns_away(
        &mut self,
        now: Instant,
        pending: u32,
        oldest: Option<Instant>,
    ) -> bool {
        self.advance(now, oldest);
        self.slow && f64::from(pending) >= self.rate * self.patience().as_secs_f64()
    }

    /// Restarts the measurement after a suspension.
    pub(super) fn begin_anew(&mut self, now: Instant) {
        *self = Self {
            opened: Some(now),
            began: Some(now),
            ..Self::new(self.target, self.interval)
        };
    }

    /// Assesses the current interval once it is over, and begins the next.
    fn advance(&mut self, now: Instant, oldest: Option<Instant>) {
        let began = *self.began.get_or_insert(now);
        let passed = now.saturating_duration_since(began);
        if passed < self.interval {
            return;
        }
        // If no checkout was admitted, either none arrived or the queue does not move: then the
        // oldest waiter decides.
        let oldest = oldest.map_or(Duration::ZERO, |since| self.queued(since, now));
        self.slow = self.shortest.unwrap_or(oldest) > self.target;
        self.rate = f64::from(self.let_in) / passed.as_secs_f64();
        (self.shortest, self.let_in) = (None, 0);
        self.began = Some(now);
    }
}
