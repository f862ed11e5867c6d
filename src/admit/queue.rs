//! The admission rules: which checkouts are admitted, which wait and which are rejected. They use
//! neither a lock nor a clock, so that they can be tested in isolation.

use std::time::Duration;

use smallvec::SmallVec;
use tokio::time::Instant;

use super::codel::CoDel;
use super::waiters::{Places, WaiterKey};
use crate::error::Rejection;

/// The state of a gate. `W` wakes a waiter that has an answer.
#[derive(Debug)]
pub(super) struct AdmissionQueue<W> {
    pub(super) capacity: u32,
    pub(super) admitted: u32,
    places: Places<QueueEntry<W>>,
    rules: Rules,
    pub(super) suspended: bool,
    /// Why the queue is closed, if it is.
    pub(super) closed: Option<Refused>,
}

/// The settings of a gate, fixed at its creation.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Rules {
    pub(super) max_pending: Option<u32>,
    pub(super) shedding: Option<CoDel>,
    pub(super) fails_when_suspended: bool,
}

/// Why a checkout is rejected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refused {
    Closed,
    RuntimeEnded,
    Suspended,
    Rejected(Rejection),
}

/// A waiter's queue entry.
#[derive(Debug)]
struct QueueEntry<W> {
    since: Instant,
    waker: Option<W>,
    /// `None` while the checkout waits.
    answer: Option<Result<(), Refused>>,
}

/// The waiters to wake once the lock is released; `None` if there are none, as usual.
#[must_use = "these waiters have an answer and must be woken"]
#[derive(Debug)]
pub(super) struct Woken<W>(
    // The usual one must not cost an allocation.
    pub(super) Option<SmallVec<[W; 1]>>,
);

impl<W> Woken<W> {
    const NONE: Self = Self(None);
}

impl<W> AdmissionQueue<W> {
    pub(super) fn new(capacity: u32, rules: Rules) -> Self {
        Self {
            capacity,
            admitted: 0,
            places: Places::default(),
            rules,
            suspended: false,
            closed: None,
        }
    }

    pub(super) fn pending(&self) -> u32 {
        self.places.queued
    }

    /// Returns whether the gate is closed and all permits were returned.
    pub(super) fn is_drained(&self) -> bool {
        self.closed.is_some() && self.admitted == 0
    }

    /// Admits a newcomer at once if a permit is free and no checkout waits. Returns whether it did.
    pub(super) fn enter(&mut self) -> Result<bool, Refused> {
        if let Some(why) = self.closed {
            return Err(why);
        }
        if self.suspended {
            return match self.rules.fails_when_suspended {
                true => Err(Refused::Suspended),
                false => Ok(false),
            };
        }
        let room = self.admitted < self.capacity && self.places.queued == 0;
        if room {
            self.admitted += 1;
            if let Some(shedding) = &mut self.rules.shedding {
                shedding.let_in(Duration::ZERO);
            }
        }
        Ok(room)
    }

    /// Admits a newcomer at once (`None`), or appends it to the queue.
    pub(super) fn enter_or_wait(
        &mut self,
        now: Instant,
        waker: W,
    ) -> Result<Option<WaiterKey>, Refused> {
        if self.enter()? {
            return Ok(None);
        }
        let pending = self.pending();
        if let Some(limit) = self.rules.max_pending.filter(|limit| pending >= *limit) {
            return Err(Refused::Rejected(Rejection::TooManyPending { limit }));
        }
        let oldest = self.oldest();
        if let Some(shedding) = &mut self.rules.shedding
            && !self.suspended
            && shedding.turns_away(now, pending, oldest)
        {
            let queued = Duration::ZERO;
            return Err(Refused::Rejected(Rejection::Shed { queued }));
        }
        Ok(Some(self.places.push(QueueEntry {
            since: now,
            waker: Some(waker),
            answer: None,
        })))
    }

    /// Returns a waiter's answer and removes its entry; `None` while it still waits. Moves a waker that
    /// is no longer needed into `old`, because dropping it may run any code and must not happen under
    /// the lock.
    pub(super) fn answer(
        &mut self,
        key: WaiterKey,
        waker: impl FnOnce(Option<&W>) -> Option<W>,
        old: &mut Option<W>,
    ) -> Option<Result<(), Refused>> {
        let place = self.places.get_mut(key);
        match place.answer {
            Some(answer) => {
                *old = self.places.remove(key).waker;
                Some(answer)
            }
            None => {
                if let Some(new) = waker(place.waker.as_ref()) {
                    *old = place.waker.replace(new);
                }
                None
            }
        }
    }

    /// Removes a waiter that leaves before it has taken its answer.
    pub(super) fn leave(
        &mut self,
        key: WaiterKey,
        now: impl FnOnce() -> Instant,
        old: &mut Option<W>,
    ) -> Woken<W> {
        let place = self.places.remove(key);
        *old = place.waker;
        match place.answer {
            // The waiter was admitted and does not use its permit.
            Some(Ok(())) => self.release(now),
            _ => Woken::NONE,
        }
    }

    /// Removes and rejects a waiter that has queued for too long in a queue that is too slow.
    pub(super) fn overdue(
        &mut self,
        key: WaiterKey,
        now: Instant,
        old: &mut Option<W>,
    ) -> Option<Refused> {
        let oldest = self.oldest();
        let place = self.places.get_mut(key);
        if place.answer.is_some() || self.suspended {
            return None;
        }
        let shedding = self.rules.shedding.as_mut()?;
        let queued = shedding.queued(place.since, now);
        if !shedding.sheds(queued, now, oldest) {
            return None;
        }
        *old = self.places.remove(key).waker;
        Some(Refused::Rejected(Rejection::Shed { queued }))
    }

    /// Takes back a permit and admits the next waiter.
    pub(super) fn release(&mut self, now: impl FnOnce() -> Instant) -> Woken<W> {
        self.admitted -= 1;
        self.serve(now)
    }

    /// Sets the number of permits. Permits in use stay valid.
    pub(super) fn resize(&mut self, capacity: u32, now: impl FnOnce() -> Instant) -> Woken<W> {
        self.capacity = capacity;
        self.serve(now)
    }

    /// Stops admission until [`resume`](Self::resume).
    pub(super) fn suspend(&mut self) -> Woken<W> {
        self.suspended = true;
        match self.rules.fails_when_suspended {
            true => self.refuse_all(Refused::Suspended),
            false => Woken::NONE,
        }
    }

    pub(super) fn resume(&mut self, now: Instant) -> Woken<W> {
        self.suspended = false;
        if let Some(shedding) = &mut self.rules.shedding {
            shedding.begin_anew(now);
        }
        self.serve(|| now)
    }

    /// Rejects all waiting and all later checkouts.
    pub(super) fn close(&mut self, why: Refused) -> Woken<W> {
        let why = *self.closed.get_or_insert(why);
        self.refuse_all(why)
    }

    fn refuse_all(&mut self, refusal: Refused) -> Woken<W> {
        let mut woken = SmallVec::new();
        while let Some(place) = self.places.pop() {
            place.answer = Some(Err(refusal));
            woken.extend(place.waker.take());
        }
        Woken(Some(woken))
    }

    fn oldest(&self) -> Option<Instant> {
        self.places.front().map(|place| place.since)
    }

    /// Admits waiters in order while permits are free, and sheds those that queued for too long.
    #[inline]
    fn serve(&mut self, now: impl FnOnce() -> Instant) -> Woken<W> {
        match self.pending() == 0 || self.suspended {
            true => Woken::NONE,
            false => self.serve_queue(now),
        }
    }

    fn serve_queue(&mut self, now: impl FnOnce() -> Instant) -> Woken<W> {
        let mut woken = SmallVec::new();
        // Most pools do not shed load and need no clock.
        let now = self.rules.shedding.as_ref().map(|_| now());
        while self.admitted < self.capacity {
            let (oldest, others) = (self.oldest(), self.pending() > 1);
            let Some(place) = self.places.pop() else {
                break;
            };
            let mut answer = Ok(());
            if let (Some(shedding), Some(now)) = (&mut self.rules.shedding, now) {
                let queued = shedding.queued(place.since, now);
                // Never shed the last waiter: serving it late is better than an idle permit.
                if shedding.sheds(queued, now, oldest) && others {
                    answer = Err(Refused::Rejected(Rejection::Shed { queued }));
                } else {
                    shedding.let_in(queued);
                }
            }
            if answer.is_ok() {
                self.admitted += 1;
            }
            place.answer = Some(answer);
            woken.extend(place.waker.take());
        }
        Woken(Some(woken))
    }
}

#[cfg(test)]
mod tests;
