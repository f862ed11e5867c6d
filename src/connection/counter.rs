//! How many connections are open, how many of them idle, and how many are being opened, as tokens
//! that count while they live.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Far more than a pool may have.
const BITS: u32 = 21;
const MASK: u64 = (1 << BITS) - 1;
const OPEN: u64 = 1 << BITS;
const OPENING: u64 = 1 << (2 * BITS);

/// All counts in one word, so that a reading is consistent.
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
    /// `(open, idle)`.
    pub(super) fn read(&self) -> (u32, u32) {
        let word = self.0.load(Ordering::Acquire);
        (open(word), idle(word))
    }

    pub(super) fn has_idle(&self) -> bool {
        idle(self.0.load(Ordering::Acquire)) > 0
    }

    /// Those that are open, and those that will be if their dials succeed.
    pub(super) fn open_or_opening(&self) -> u32 {
        let word = self.0.load(Ordering::Acquire);
        open(word) + opening(word)
    }

    /// A place for one more connection, unless `limit` are open or being opened.
    pub(super) fn place(self: &Arc<Self>, limit: u32) -> Option<Place> {
        self.0
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, |word| {
                (open(word) + opening(word) < limit).then_some(word + OPENING)
            })
            .ok()
            .map(|_| Place(Some(Arc::clone(self))))
    }
}

/// Counts as being opened until dropped.
#[derive(Debug)]
pub(super) struct Place(Option<Arc<Counter>>);

impl Place {
    /// It is open now. At no moment does it count twice, or not at all.
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

/// Counts as open until dropped, and as idle as long as it is.
#[derive(Debug)]
pub(super) struct Open {
    counter: Option<Arc<Counter>>,
    idle: bool,
}

impl Open {
    pub(super) fn is_idle(&self) -> bool {
        self.idle
    }

    /// It is idle, whatever the number of others.
    pub(super) fn idle(&mut self) {
        self.idle_within(u32::MAX);
    }

    /// It is idle unless `limit` others are. Of many check-ins at once, exactly as many succeed as
    /// there is room.
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

    /// It is idle no more.
    pub(super) fn taken(&mut self) {
        if let (Some(counter), true) = (&self.counter, self.idle) {
            counter.0.fetch_sub(1, Ordering::AcqRel);
        }
        self.idle = false;
    }

    /// Stops counting if there are more than `limit`. Of many at once exactly as many do as there
    /// are too many.
    pub(super) fn gives_way(&mut self, limit: u32) -> bool {
        let Some(counter) = &self.counter else {
            return false;
        };
        // Read first: hardly ever are there too many.
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

    /// Stops counting.
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

    /// What comes of forty who do it at once.
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
    fn counts_live_as_long_as_their_tokens() {
        let counter = Arc::new(Counter::default());
        let places: Vec<_> = (0..5).filter_map(|_| counter.place(3)).collect();
        assert_eq!((counter.read(), counter.open_or_opening()), ((0, 0), 3));
        let mut open: Vec<_> = places.into_iter().map(Place::opened).collect();
        assert_eq!((counter.read(), counter.open_or_opening()), ((3, 0), 3));
        let idle: Vec<_> = open.iter_mut().map(|it| it.idle_within(2)).collect();
        assert_eq!((counter.read(), idle), ((3, 2), vec![true, true, false]));
        open[2].idle();
        assert_eq!(counter.read(), (3, 3));
        assert!(open[2].idle_within(0), "it is already");
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
    fn of_forty_check_ins_at_once_exactly_five_stay() {
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
    fn of_forty_dials_at_once_exactly_as_many_go_as_there_are_places() {
        for _ in 0..20 {
            let counter = Arc::new(Counter::default());
            let _open = [(); 3].map(|()| counter.place(3).unwrap().opened());
            let open = forty(|| counter.place(8).map(Place::opened));
            assert_eq!((open.len(), counter.read().0), (5, 8));
        }
    }

    #[test]
    fn of_forty_that_are_too_many_exactly_the_rest_gives_way() {
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
