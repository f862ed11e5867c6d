//! How many connections are open and how many of them idle, as tokens that count while they live.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

const OPEN: u64 = 1 << 32;

/// Both counts in one word, so that a reading is consistent.
#[derive(Debug, Default)]
pub(super) struct Counter(AtomicU64);

impl Counter {
    /// `(open, idle)`.
    pub(super) fn read(&self) -> (u32, u32) {
        let word = self.0.load(Ordering::Acquire);
        ((word >> 32) as u32, word as u32)
    }

    pub(super) fn open(self: &Arc<Self>) -> Open {
        self.0.fetch_add(OPEN, Ordering::AcqRel);
        Open(Arc::clone(self))
    }

    /// Counts one more idle connection, whatever their number.
    pub(super) fn idle(self: &Arc<Self>) -> Idle {
        self.0.fetch_add(1, Ordering::AcqRel);
        Idle(Arc::clone(self))
    }

    /// Counts one more idle connection unless there are `limit` already. Of many check-ins at
    /// once, exactly as many succeed as there is room.
    pub(super) fn idle_within(self: &Arc<Self>, limit: u32) -> Option<Idle> {
        self.0
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, |word| {
                ((word as u32) < limit).then_some(word + 1)
            })
            .ok()
            .map(|_| Idle(Arc::clone(self)))
    }
}

/// Counts as open until dropped.
#[derive(Debug)]
pub(super) struct Open(Arc<Counter>);

impl Drop for Open {
    fn drop(&mut self) {
        self.0.0.fetch_sub(OPEN, Ordering::AcqRel);
    }
}

/// Counts as idle until dropped.
#[derive(Debug)]
pub(super) struct Idle(Arc<Counter>);

impl Drop for Idle {
    fn drop(&mut self) {
        self.0.0.fetch_sub(1, Ordering::AcqRel);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_live_as_long_as_their_tokens() {
        let counter = Arc::new(Counter::default());
        let open = [counter.open(), counter.open(), counter.open()];
        let idle: Vec<_> = (0..3).filter_map(|_| counter.idle_within(2)).collect();
        assert_eq!((counter.read(), idle.len()), ((3, 2), 2));
        let fresh = counter.idle();
        assert_eq!(counter.read(), (3, 3));
        drop((idle, open, fresh));
        assert_eq!(counter.read(), (0, 0));
    }

    #[test]
    fn of_forty_check_ins_at_once_exactly_five_stay() {
        for _ in 0..20 {
            let counter = Arc::new(Counter::default());
            let barrier = std::sync::Barrier::new(40);
            let kept = std::thread::scope(|scope| {
                let threads: Vec<_> = (0..40)
                    .map(|_| {
                        scope.spawn(|| {
                            barrier.wait();
                            counter.idle_within(5)
                        })
                    })
                    .collect();
                threads
                    .into_iter()
                    .filter_map(|thread| thread.join().unwrap())
                    .collect::<Vec<_>>()
            });
            assert_eq!((kept.len(), counter.read().1), (5, 5));
        }
    }
}
