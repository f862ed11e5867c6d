//! Compares the history with a reference model that keeps every checkout.

use proptest::prelude::*;

use super::super::busiest::HALF_DAY;
use super::super::*;
use crate::record::clock::SECOND;

#[derive(Debug, Clone)]
enum Step {
    Passes(u64),
    Ask,
    Grant(prop::sample::Index),
    GiveUp(prop::sample::Index),
    Return(prop::sample::Index, Option<u8>),
    /// Performs this many checkouts one after another, each held for this number of nanoseconds.
    Rush(u32, u64),
    Resize(u32),
    Read,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let one = any::<prop::sample::Index>;
    let passes = |nanos: std::ops::Range<u64>| nanos.prop_map(Step::Passes);
    let step = prop_oneof![
        6 => passes(0..30_000_000),
        2 => passes(0..30 * SECOND),
        1 => prop_oneof![Just(LONGEST), Just(LONGEST - 1), Just(61 * MINUTE), Just(HALF_DAY)]
            .prop_map(Step::Passes),
        8 => Just(Step::Ask),
        6 => one().prop_map(Step::Grant),
        1 => one().prop_map(Step::GiveUp),
        5 => (one(), any::<Option<u8>>()).prop_map(|(one, busy)| Step::Return(one, busy)),
        2 => (1_u32..6000, 1_u64..20_000_000).prop_map(|(count, held)| Step::Rush(count, held)),
        1 => (0_u32..100_000).prop_map(Step::Resize),
        2 => Just(Step::Read),
    ];
    prop::collection::vec(step, 0..120)
}

/// A checkout in the model. Times are in nanoseconds.
#[derive(Debug, Clone, Copy)]
struct Known {
    asked: u64,
    /// `None` if it gave up.
    granted: Option<u64>,
    returned: Option<u64>,
    queries: Option<Queries>,
    size: u16,
    /// Number of checkouts requested when it was recorded.
    of: u64,
}

struct Both {
    now: u64,
    history: History,
    size: u32,
    asked: u64,
    waiting: Vec<u64>,
    /// Checkouts in the order in which they were recorded. Their numbers begin with 1.
    known: Vec<Known>,
    held: Vec<(usize, Option<Position>)>,
}

impl Both {
    fn new() -> Self {
        Self {
            now: 0,
            history: History::new(10),
            size: 10,
            asked: 0,
            waiting: Vec::new(),
            known: Vec::new(),
            held: Vec::new(),
        }
    }

    fn step(&mut self, step: &Step) -> Result<(), TestCaseError> {
        match *step {
            Step::Passes(nanos) => self.now += nanos,
            Step::Ask => self.ask(),
            Step::Grant(one) if !self.waiting.is_empty() => {
                let asked = self.waiting.remove(one.index(self.waiting.len()));
                self.grant(asked);
            }
            Step::GiveUp(one) if !self.waiting.is_empty() => {
                let asked = self.waiting.remove(one.index(self.waiting.len()));
                let number = self.write(asked, None);
                self.history.gave_up(self.now, number);
            }
            Step::Return(one, busy) if !self.held.is_empty() => {
                let held = self.held.swap_remove(one.index(self.held.len()));
                self.give_back(held, busy);
            }
            Step::Rush(count, held) => {
                for n in 0..count {
                    self.ask();
                    let asked = self.waiting.pop().expect("it was requested");
                    self.grant(asked);
                    self.now += held;
                    let held = self.held.pop().expect("it was granted");
                    self.give_back(held, (n % 2 == 0).then_some(77));
                }
            }
            Step::Resize(size) => {
                self.size = size;
                self.history.set_size(size);
            }
            Step::Read => self.compare()?,
            Step::Grant(_) | Step::GiveUp(_) | Step::Return(..) => {}
        }
        Ok(())
    }

    fn ask(&mut self) {
        self.asked += 1;
        self.history.asked();
        self.waiting.push(self.now);
    }

    fn write(&mut self, asked: u64, granted: Option<u64>) -> Asked {
        self.known.push(Known {
            asked,
            granted,
            returned: granted.is_none().then_some(self.now),
            queries: None,
            size: u16::try_from(self.size).unwrap_or(u16::MAX),
            of: self.asked,
        });
        let number = self.known.len() as u32;
        Asked {
            asked,
            request: number,
            place: number as u16,
        }
    }

    fn grant(&mut self, asked: u64) {
        let number = self.write(asked, Some(self.now));
        let position = self.history.granted(self.now, self.now, number);
        self.held.push((self.known.len() - 1, position));
    }

    fn give_back(&mut self, (index, position): (usize, Option<Position>), busy: Option<u8>) {
        let known = &mut self.known[index];
        known.returned = Some(self.now);
        let granted = known.granted.expect("it is held");
        let queries = busy.map(|share| {
            let busy = (self.now - granted) / 256 * u64::from(share);
            Queries {
                between: (busy > 0).then(|| (self.now - busy, self.now)),
                busy,
            }
        });
        if let Some(position) = position {
            known.queries = queries;
            self.history.returned(position, self.now, queries);
        }
    }

    fn compare(&mut self) -> Result<(), TestCaseError> {
        let recorded = self.history.read(self.now);
        let total = self.asked;
        self.compare_all(&recorded.recent, Some(total))?;
        if let Some((segments, ended)) = &recorded.busiest {
            prop_assert!(*ended <= self.now && ended + 2 * HALF_DAY > self.now);
            self.compare_all(segments, None)?;
        }
        let history = &self.history;
        let open = history.closing.iter().chain(&history.writing);
        let open: usize = open.map(|it| it.entries.len()).sum();
        let kept: usize = history.kept.iter().map(|it| it.entries.len()).sum();
        prop_assert!(kept <= FULL * ENTRIES && open <= 2 * ENTRIES);
        Ok(())
    }

    fn compare_all(&self, all: &[Counted], total: Option<u64>) -> Result<(), TestCaseError> {
        let mut before: Option<(&Segment, usize)> = None;
        for (index, Counted { segment, .. }) in all.iter().enumerate() {
            prop_assert!(segment.began <= segment.ended && segment.ended <= self.now);
            prop_assert!(segment.entries.len() <= ENTRIES);
            let Some(first) = segment.entries.first().map(|it| it.request as usize) else {
                continue;
            };
            for (entry, number) in segment.entries.iter().zip(first..) {
                // No entry is missing.
                prop_assert_eq!(entry.request as usize, number);
                let next = all.get(index + 1).map(|it| &*it.segment);
                self.compare_one(segment, entry, next, total.is_some())?;
            }
            if let Some((earlier, last)) = before {
                // Its beginning is rounded down to a microsecond.
                prop_assert!(earlier.ended < segment.began + 1000);
                prop_assert!(first > last);
                prop_assert!(!segment.follows || first == last + 1);
            }
            before = Some((segment, first + segment.entries.len() - 1));
        }
        let asked: u64 = all.iter().map(|it| it.asked).sum();
        if let (Some(total), Some(first)) = (total, all.first()) {
            // Counted from its first entry, or from the first request of all.
            let before = match first.segment.entries[0].request {
                1 => 0,
                number => self.known[number as usize - 1].of - 1,
            };
            prop_assert_eq!(asked, total - before);
        }
        Ok(())
    }

    fn compare_one(
        &self,
        segment: &Segment,
        entry: &Entry,
        next: Option<&Segment>,
        is_recent: bool,
    ) -> Result<(), TestCaseError> {
        let known = &self.known[entry.request as usize - 1];
        let micros = |at: u64| {
            let micros = at.saturating_sub(segment.began) / 1000;
            u32::try_from(micros).map_or(NEVER - 1, |micros| micros.min(NEVER - 1))
        };
        let since = (known.asked as i64 - segment.began as i64).div_euclid(1000);
        prop_assert_eq!(i64::from(entry.asked), since.max(i32::MIN.into()));
        prop_assert_eq!(entry.granted, known.granted.map_or(NEVER, micros));
        prop_assert_eq!(
            (entry.place, entry.size),
            (entry.request as u16, known.size)
        );
        let Some(returned) = known.returned.filter(|_| entry.returned != NEVER) else {
            // A return is recorded until the next segment ends, or for `LONGEST` if there is none.
            let end = match next {
                Some(next) if next.number == segment.number + 1 => next.ended,
                None if is_recent => u64::MAX,
                // The next segment is not kept.
                Some(_) | None => 0,
            };
            let open = segment.ended.saturating_add(LONGEST).min(end).min(self.now);
            let is_late = known.returned.is_none_or(|returned| returned >= open);
            prop_assert!(is_late, "{:?} of {:?}", entry, known);
            prop_assert_eq!((entry.returned, entry.busy), (NEVER, NEVER));
            return Ok(());
        };
        prop_assert_eq!(entry.returned, micros(returned));
        let Some(queries) = known.queries else {
            prop_assert_eq!((entry.first, entry.last, entry.busy), (NEVER, NEVER, NEVER));
            return Ok(());
        };
        prop_assert_eq!(
            u64::from(entry.busy),
            (queries.busy / 1000).min(u64::from(NEVER - 1))
        );
        let between = queries.between;
        let (first, last) = between.map_or((NEVER, NEVER), |it| (micros(it.0), micros(it.1)));
        prop_assert_eq!((entry.first, entry.last), (first, last));
        Ok(())
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn the_history_agrees_with_the_model(steps in steps()) {
        let mut both = Both::new();
        for step in steps {
            both.step(&step)?;
        }
        both.compare()?;
    }

    /// Threads may take the lock in another order than they read the clock.
    #[test]
    fn clocks_that_go_back_and_forth_never_panic(
        steps in prop::collection::vec(
            (
                prop_oneof![
                    6 => -1000_i64..1_000_000,
                    2 => any::<i32>().prop_map(i64::from),
                    1 => any::<i64>().prop_map(|it| it >> 4),
                ],
                0_u64..1_000_000_000,
                0_u8..6,
                0_u64..2_000_000_000,
            ),
            0..200,
        ),
        rush in 0_u32..9000,
    ) {
        let mut history = History::new(3);
        let mut positions = Vec::new();
        let mut clock = 0_u64;
        for _ in 0..rush {
            clock += 1000;
            history.asked();
            positions.extend(history.granted(clock, clock, Asked::default()));
        }
        for (passes, earlier, what, odd) in steps {
            clock = clock.saturating_add_signed(passes) % (1 << 60);
            let now = clock;
            let before = now.saturating_sub(earlier);
            match what {
                0 => history.asked(),
                1 => {
                    let asked = Asked { asked: now + odd, request: 1, place: 2 };
                    positions.extend(history.granted(now, before, asked));
                }
                2 => history.gave_up(now, Asked { asked: before, request: 0, place: 0 }),
                3 => {
                    let between = Some((now + odd, before));
                    if let Some(position) = positions.pop() {
                        history.returned(position, before, Some(Queries { between, busy: odd * odd }));
                    }
                }
                _ => {
                    let recorded = history.read(now);
                    for Counted { segment, .. } in &recorded.recent {
                        prop_assert!(segment.seconds() >= 0.0);
                        let is_right = |entry: &Entry| entry.granted == NEVER || entry.returned >= entry.granted;
                        prop_assert!(segment.entries.iter().all(is_right));
                    }
                }
            }
        }
    }
}
