//! The events of a simulated pool, in order.

use std::cmp::{Ordering, Reverse};
use std::collections::BinaryHeap;

/// An event, ordered by time. Events at the same time have the order of their kinds.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Event {
    at: f64,
    pub(super) kind: EventKind,
    /// The index of the job that asks, or of the passage.
    pub(super) who: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum EventKind {
    Returns,
    Leaves,
    Comes,
    Asks,
}

impl Eq for Event {}

impl PartialOrd for Event {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Event {
    fn cmp(&self, other: &Self) -> Ordering {
        let same_time = || (self.kind, self.who).cmp(&(other.kind, other.who));
        self.at.total_cmp(&other.at).then_with(same_time)
    }
}

/// The events to come. Departures from a shared station depend on who arrives there until then, so
/// these have a virtual time, which passes at the speed of each job there.
#[derive(Debug)]
pub(super) struct Events {
    pub(super) now: f64,
    queue: BinaryHeap<Reverse<Event>>,
    /// The number of processors that the jobs at the station share.
    processors: f64,
    virtual_now: f64,
    sharing: BinaryHeap<Reverse<Event>>,
}

impl Events {
    pub(super) fn new(processors: f64) -> Self {
        Self {
            now: 0.0,
            queue: BinaryHeap::new(),
            processors,
            virtual_now: 0.0,
            sharing: BinaryHeap::new(),
        }
    }

    pub(super) fn push(&mut self, at: f64, kind: EventKind, who: usize) {
        self.queue.push(Reverse(Event { at, kind, who }));
    }

    /// Adds the departure of a job that has come to the shared station now.
    pub(super) fn share(&mut self, inside: f64, who: usize) {
        let (at, kind) = (self.virtual_now + inside, EventKind::Leaves);
        self.sharing.push(Reverse(Event { at, kind, who }));
    }

    /// Removes the next event, and advances the time to it.
    pub(super) fn next(&mut self) -> Option<Event> {
        let speed = (self.processors / self.sharing.len() as f64).min(1.0);
        let leaves = self.sharing.peek().map(|Reverse(first)| {
            let left = (first.at - self.virtual_now).max(0.0);
            let at = self.now + left / speed;
            Event { at, ..*first }
        });
        let other = self.queue.peek().map(|Reverse(first)| *first);
        let next = leaves.into_iter().chain(other).min()?;
        match other == Some(next) {
            true => self.queue.pop(),
            false => self.sharing.pop(),
        };
        self.virtual_now += (next.at - self.now) * speed;
        self.now = next.at;
        Some(next)
    }
}
