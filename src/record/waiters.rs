//! The checkouts that wait for a connection, and which of them queue.

use std::panic::Location;

use tokio::time::Instant;

use crate::checkout::wait_phase::Phase;
use crate::record::blame::Owed;
use crate::record::ledger::Entries;
use crate::record::nested::OwnHold;
use crate::record::usage::SiteId;

/// A checkout that waits for a connection.
#[derive(Clone, Copy)]
pub(crate) struct Waiter {
    pub(crate) since: Instant,
    /// Current phase of the wait; `None` if unknown.
    phase: Option<Phase>,
    pub(crate) site: SiteId,
    /// The readings of [`Mark::each`] between which it has queued. The second is the end of the last time
    /// that it queued, `None` while it does.
    pub(crate) queued: (Owed, Option<Owed>),
    /// The source line of its checkout.
    pub(crate) caller: &'static Location<'static>,
    /// The hold of the same request, if the wait began beside one.
    pub(crate) own_hold: Option<OwnHold>,
}

impl Waiter {
    /// Returns a waiter that begins to wait now.
    pub(crate) fn new(
        since: Instant,
        phase: Option<Phase>,
        site: SiteId,
        each: Owed,
        caller: &'static Location<'static>,
        own_hold: Option<OwnHold>,
    ) -> Self {
        let queues = Queueing::of(phase).is_some();
        Self {
            since,
            phase,
            site,
            queued: (each, (!queues).then_some(each)),
            caller,
            own_hold,
        }
    }

    pub(crate) fn phase(&self) -> Option<Phase> {
        self.phase
    }

    fn enter(&mut self, phase: Option<Phase>, each: Owed) {
        match (Queueing::of(self.phase), Queueing::of(phase)) {
            (None, Some(_)) => self.queued = (each, None),
            (Some(_), None) => self.queued.1 = Some(each),
            _ => {}
        }
        self.phase = phase;
    }
}

/// How it is known that a waiter queues.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Queueing {
    /// By its phase.
    Known,
    /// The phase is unknown, so it queues if the pool is full.
    IfFull,
}

impl Queueing {
    fn of(phase: Option<Phase>) -> Option<Self> {
        match phase {
            Some(Phase::Queued) => Some(Self::Known),
            Some(Phase::Connecting | Phase::Pinging) => None,
            None => Some(Self::IfFull),
        }
    }
}

/// The checkouts that wait, and how many of them queue.
#[derive(Default)]
pub(crate) struct Waiters {
    all: Entries<Waiter>,
    /// The waiters that queue, by their phase.
    queued: u32,
    /// The waiters whose phase is unknown.
    unknown: u32,
}

impl Waiters {
    pub(crate) fn insert(&mut self, waiter: Waiter) -> u32 {
        if let Some(count) = self.count(waiter.phase) {
            *count += 1;
        }
        self.all.insert(waiter)
    }

    pub(crate) fn remove(&mut self, key: u32) -> Option<Waiter> {
        let waiter = self.all.remove(key)?;
        if let Some(count) = self.count(waiter.phase) {
            *count -= 1;
        }
        Some(waiter)
    }

    /// Moves a waiter to another phase. `each` is the reading of [`Mark::each`].
    pub(crate) fn enter(&mut self, key: u32, phase: Option<Phase>, each: Owed) {
        let Some(waiter) = self.all.get_mut(key) else {
            return;
        };
        let before = waiter.phase;
        waiter.enter(phase, each);
        if let Some(count) = self.count(before) {
            *count -= 1;
        }
        if let Some(count) = self.count(phase) {
            *count += 1;
        }
    }

    fn count(&mut self, phase: Option<Phase>) -> Option<&mut u32> {
        match Queueing::of(phase)? {
            Queueing::Known => Some(&mut self.queued),
            Queueing::IfFull => Some(&mut self.unknown),
        }
    }

    pub(crate) fn get(&self, key: u32) -> Option<&Waiter> {
        self.all.get(key)
    }

    pub(crate) fn len(&self) -> u32 {
        self.all.len()
    }

    /// Returns how many queue. `is_full` is asked if the phase of some is unknown.
    pub(crate) fn queued(&self, is_full: impl FnOnce() -> bool) -> u32 {
        match self.unknown {
            0 => self.queued,
            unknown if is_full() => self.queued + unknown,
            _ => self.queued,
        }
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Waiter> {
        self.all.iter()
    }
}
