//! Counts the open, the idle and the opening connections. Each is a token that counts until it is
//! dropped.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// The width of each count: far more than the largest pool needs.
const BITS: u32 = 21;
const MASK: u64 = (1 << BITS) - 1;
const OPEN: u64 = 1 << BITS;
const OPENING: u64 = 1 << (2 * BITS);

/// The counts, packed into one word so that a read is consistent.
#[derive(Debug, Default)]
pub(super) struct Counter(AtomicU64);

fn idle(word: u64) -> u32 {
    (word & MASK) as u32
}

fn open(word: u64) -> u32 {
    (word >> BITS & MASK) as u32
}

fn opening(word: u64) -> u32 {
    (word >> (2 * BITS)) as u32
}

impl Counter {
    /// Returns `(open, idle)`.
    #[inline]
    pub(super) fn read(&self) -> (u32, u32) {
        let word = self.0.load(Ordering::Acquire);
        (open(word), idle(word))
    }

    #[inline]
    pub(super) fn has_idle(&self) -> bool {
        idle(self.0.load(Ordering::Acquire)) > 0
    }

    /// Returns the number of connections that are open or being opened.
    pub(super) fn open_or_opening(&self) -> u32 {
        let word = self.0.load(Ordering::Acquire);
        open(word) + opening(word)
    }

    /// Reserves one more connection, unless `limit` are open or being opened.
    pub(super) fn place(self: &Arc<Self>, limit: u32) -> Option<Place> {
        self.0
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, |word| {
                (open(word) + opening(word) < limit).then_some(word + OPENING)
            })
            .ok()
            .map(|_| Place(Some(Arc::clone(self))))
    }
}

/// A reservation for a connection. Counts as being opened until dropped.
#[derive(Debug)]
pub(super) struct Place(Option<Arc<Counter>>);

impl Place {
    /// Turns the reservation into an open connection in one step, so that it never counts twice or not
    /// at all.
    pub(super) fn opened(mut self) -> Open {
        let counter = self.0.take().expect("taken here only");
        counter
            .0
            .fetch_add(OPEN.wrapping_sub(OPENING), Ordering::AcqRel);
        Open {
            counter: Some(counter),
            idle: false,
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if let Some(counter) = &self.0 {
            counter.0.fetch_sub(OPENING, Ordering::AcqRel);
        }
    }
}

/// The token of a connection. Counts as open until dropped, and as idle while it is idle.
#[derive(Debug)]
pub(super) struct Open {
    counter: Option<Arc<Counter>>,
    idle: bool,
}

impl Open {
    pub(super) fn is_idle(&self) -> bool {
        self.idle
    }

    /// Marks the connection as idle, regardless of how many others are.
    pub(super) fn idle(&mut self) {
        self.idle_within(u32::MAX);
    }

    /// Marks the connection as idle unless `limit` others are; returns whether it is idle. Of many
    /// simultaneous check-ins, exactly as many succeed as fit.
    pub(super) fn idle_within(&mut self, limit: u32) -> bool {
        if let (Some(counter), false) = (&self.counter, self.idle) {
            self.idle = counter
                .0
                .fetch_update(Ordering::AcqRel, Ordering::Acquire, |word| {
                    (idle(word) < limit).then_some(word + 1)
                })
                .is_ok();
        }
        self.idle
    }

    /// Marks the connection as in use.
    pub(super) fn taken(&mut self) {
        if let (Some(counter), true) = (&self.counter, self.idle) {
            counter.0.fetch_sub(1, Ordering::AcqRel);
        }
        self.idle = false;
    }

    /// Stops counting this connection if more than `limit` are open; returns whether it did. Of many
    /// simultaneous calls, exactly as many succeed as there are surplus connections.
    pub(super) fn gives_way(&mut self, limit: u32) -> bool {
        let Some(counter) = &self.counter else {
            return false;
        };
        // A plain read first, because a surplus is rare.
        if open(counter.0.load(Ordering::Acquire)) <= limit {
            return false;
        }
        let counts = self.counts();
        let gone = counter
            .0
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, |word| {
                (open(word) > limit).then(|| word - counts)
            })
            .is_ok();
        if gone {
            self.counter = None;
        }
        gone
    }

    /// Stops counting this connection.
    pub(super) fn closes(&mut self) {
        if let Some(counter) = self.counter.take() {
            counter.0.fetch_sub(self.counts(), Ordering::AcqRel);
        }
    }

    fn counts(&self) -> u64 {
        OPEN + u64::from(self.idle)
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.closes();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Runs `each` on forty threads at once and collects the results.
    fn forty<T: Send>(each: impl Fn() -> Option<T> + Sync) -> Vec<T> {
        let barrier = std::sync::Barrier::new(40);
        std::thread::scope(|scope| {
            let one = || {
                barrier.wait();
                each()
            };
            let threads: Vec<_> = (0..40).map(|_| scope.spawn(one)).collect();
            threads
                .into_iter()
                .filter_map(|thread| thread.join().unwrap())
                .collect()
        })
    }

    #[test]
    fn tokens_count_until_they_are_dropped() {
        let counter = Arc::new(Counter::default());
        let places: Vec<_> = (0..5).filter_map(|_| counter.place(3)).collect();
        assert_eq!((counter.read(), counter.open_or_opening()), ((0, 0), 3));
        let mut open: Vec<_> = places.into_iter().map(Place::opened).collect();
        assert_eq!((counter.read(), counter.open_or_opening()), ((3, 0), 3));
        let idle: Vec<_> = open.iter_mut().map(|it| it.idle_within(2)).collect();
        assert_eq!((counter.read(), idle), ((3, 2), vec![true, true, false]));
        open[2].idle();
        assert_eq!(counter.read(), (3, 3));
        assert!(open[2].idle_within(0), "already idle");
        open[1].taken();
        open[1].taken();
        assert_eq!(counter.read(), (3, 2));
        let given_up = counter.place(4);
        assert!(counter.place(4).is_none());
        drop(given_up);
        assert!(counter.place(4).is_some());
        drop(open);
        assert_eq!((counter.read(), counter.open_or_opening()), ((0, 0), 0));
    }

    #[test]
    fn of_forty_simultaneous_check_ins_exactly_five_stay_idle() {
        for _ in 0..20 {
            let counter = Arc::new(Counter::default());
            let kept = forty(|| {
                let mut open = counter.place(40)?.opened();
                open.idle_within(5).then_some(open)
            });
            assert_eq!((kept.len(), counter.read()), (5, (5, 5)));
        }
    }

    #[test]
    fn of_forty_simultaneous_reservations_exactly_as_many_succeed_as_fit() {
        for _ in 0..20 {
            let counter = Arc::new(Counter::default());
            let _open = [(); 3].map(|()| counter.place(3).unwrap().opened());
            let open = forty(|| counter.place(8).map(Place::opened));
            assert_eq!((open.len(), counter.read().0), (5, 8));
        }
    }

    #[test]
    fn of_forty_open_connections_exactly_the_surplus_closes() {
        for _ in 0..20 {
            let counter = Arc::new(Counter::default());
            let open = std::sync::Mutex::new(Vec::new());
            for _ in 0..40 {
                open.lock()
                    .unwrap()
                    .push(counter.place(40).unwrap().opened());
            }
            let stayed = forty(|| {
                let mut open = open.lock().unwrap().pop()?;
                (!open.gives_way(7)).then_some(open)
            });
            assert_eq!((stayed.len(), counter.read().0), (7, 7));
            drop(stayed);
            assert_eq!(counter.read().0, 0);
        }
    }
}
