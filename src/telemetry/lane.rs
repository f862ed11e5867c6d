//! The way of one signal's items, counted: into the queue, out of it, sent or lost.
//!
//! The SDK drops what does not fit into its queue, and tells nobody how much until the end. So the
//! places are counted here, and what finds none is not handed on.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed, Ordering::SeqCst};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Instant;

use crate::exports::{Signal, Tally};

/// The way of one signal's items.
#[derive(Debug)]
pub(super) struct Lane {
    pub(super) signal: Signal,
    tally: Arc<Tally>,
    /// Places in the SDK's queue.
    places: u64,
    /// Taken of them, never fewer than the SDK has.
    queued: AtomicU64,
    closed: AtomicBool,
    finished: Mutex<bool>,
    finishes: Condvar,
}

impl Lane {
    pub(super) fn new(signal: Signal, tally: &Arc<Tally>, places: usize) -> Arc<Self> {
        Arc::new(Self {
            signal,
            tally: Arc::clone(tally),
            places: places as u64,
            queued: AtomicU64::new(0),
            closed: AtomicBool::new(false),
            finished: Mutex::new(false),
            finishes: Condvar::new(),
        })
    }

    /// Takes a place in the queue, or counts an item that found none.
    pub(super) fn admit(&self) -> bool {
        if !self.closed.load(Relaxed) {
            if self.queued.fetch_add(1, SeqCst) < self.places {
                return true;
            }
            self.queued.fetch_sub(1, SeqCst);
        }
        self.tally.dropped(self.signal, 1);
        false
    }

    /// Items have left the queue, to be sent.
    pub(super) fn taken(&self, items: u64) {
        self.queued.fetch_sub(items, SeqCst);
    }

    /// Nothing is admitted any more.
    pub(super) fn close(&self) {
        self.closed.store(true, SeqCst);
    }

    /// The last export is over.
    pub(super) fn finish(&self) {
        *self.finished.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.finishes.notify_all();
    }

    /// Waits for the last export; whether it came in time.
    pub(super) fn wait_finished(&self, until: Instant) -> bool {
        let mut finished = self.finished.lock().unwrap_or_else(PoisonError::into_inner);
        while !*finished {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            let waited = self.finishes.wait_timeout(finished, left);
            finished = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        true
    }

    /// What is in the queue will not be sent: counts it as dropped.
    pub(super) fn abandon(&self) {
        let left = self.queued.swap(0, SeqCst);
        self.tally.dropped(self.signal, left);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn what_finds_no_place_is_counted() {
        let tally = Tally::new([const { None }; 3]);
        let lane = Lane::new(Signal::Traces, &tally, 3);
        let admitted = (0..5).filter(|_| lane.admit()).count();
        assert_eq!((admitted, tally.read().traces.dropped), (3, 2));
        lane.taken(2);
        assert!(lane.admit());
        lane.close();
        assert!(!lane.admit());
        assert_eq!(tally.read().traces.dropped, 3);
        lane.abandon();
        assert_eq!(tally.read().traces.dropped, 5);
        assert_eq!(tally.read().traces.lost_last_5m, 5);
    }

    #[test]
    fn the_end_is_waited_for_and_not_for_ever() {
        let lane = Lane::new(Signal::Logs, &Tally::new([const { None }; 3]), 1);
        assert!(!lane.wait_finished(Instant::now()));
        std::thread::scope(|scope| {
            let waiting =
                scope.spawn(|| lane.wait_finished(Instant::now() + Duration::from_secs(60)));
            lane.finish();
            assert!(waiting.join().unwrap());
        });
    }
}
