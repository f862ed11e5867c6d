//! The record against a model that keeps every event and adds nothing up before it is asked.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::observe::clock::SECOND;

#[derive(Debug, Clone, Copy)]
enum Step {
    Passes(u64),
    Take,
    Wait(prop::sample::Index),
    GiveBack(prop::sample::Index, Option<u8>),
    TimeOut,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let passes = |nanos: std::ops::Range<u64>| nanos.prop_map(Step::Passes);
    let step = prop_oneof![
        6 => passes(0..30_000_000),
        2 => passes(0..3 * SECOND),
        1 => Just(Step::Passes(5 * SECOND)),
        1 => passes(20 * SECOND..200 * SECOND),
        1 => prop_oneof![Just(MINUTE), Just(61 * MINUTE), Just(1441 * MINUTE)].prop_map(Step::Passes),
        8 => Just(Step::Take),
        2 => any::<prop::sample::Index>().prop_map(Step::Wait),
        9 => any::<(prop::sample::Index, Option<u8>)>().prop_map(|(one, busy)| Step::GiveBack(one, busy)),
        1 => Just(Step::TimeOut),
    ];
    prop::collection::vec(step, 0..250)
}

/// A hold from its beginning; nanoseconds since the start.
#[derive(Debug, Clone, Copy)]
struct Held {
    since: u64,
    told: Began,
}

#[derive(Debug, Clone, Copy)]
struct Back {
    since: u64,
    at: u64,
    level: u32,
    busy: Option<u64>,
    /// How many changes of the level were told before.
    changes: usize,
}

struct Run {
    began: u64,
    ended: u64,
    least: u32,
}

/// Everything that ever happened.
#[derive(Debug, Default)]
struct Memory {
    arrivals: Vec<u64>,
    unserved: Vec<u64>,
    /// When it was told, and the time queued.
    queued: Vec<(u64, u64)>,
    /// From when on how many were in use.
    levels: Vec<(u64, u32)>,
    back: Vec<Back>,
}

impl Memory {
    /// What belongs to a window that began then.
    fn load(&self, from: u64, now: u64) -> Load {
        let mut load = Load::default();
        let within = |at: &u64| *at >= from;
        load.seconds = seconds(now - from);
        load.arrivals = self
            .arrivals
            .iter()
            .copied()
            .filter(|at| within(at))
            .count() as u64;
        load.unserved = self.unserved.iter().filter(|at| within(at)).count() as u64;
        for two in self.arrivals.windows(2) {
            if within(&two[1]) && two[1] - two[0] <= MINUTE {
                load.between.add(seconds(two[1] - two[0]));
            }
        }
        for (at, queued) in &self.queued {
            if within(at) {
                load.queued.record(Duration::from_nanos(*queued));
            }
        }
        load.levels.resize(200, AtLevel::default());
        for (begins, ends, level) in self.stretches(now) {
            let time = ends.saturating_sub(begins.max(from));
            load.levels[level as usize].seconds += seconds(time);
        }
        for back in self.back.iter().filter(|back| within(&back.at)) {
            let held = back.at - back.since;
            load.held.add(seconds(held));
            load.levels[back.level as usize].completions += 1;
            let at = &mut load.levels[self.mean(back, now) as usize];
            at.holds += 1;
            at.held += seconds(held);
            if let Some(busy) = back.busy {
                at.measured += seconds(held);
                at.busy += seconds(busy);
            }
        }
        for run in self.runs().filter(|run| within(&run.ended)) {
            let at = &mut load.levels[run.least as usize];
            at.runs.add(seconds(run.ended - run.began));
            at.run_used += seconds(self.used(run.began, run.ended, now));
        }
        for (length, counts) in Load::BINS.iter().zip(&mut load.counts) {
            let length = length.as_nanos() as u64;
            let mut bins = BTreeMap::<u64, u64>::new();
            for at in self.arrivals.iter().copied().filter(within) {
                *bins.entry(at / length).or_default() += 1;
            }
            bins.retain(|bin, _| (bin + 1) * length <= now);
            counts.bins = now / length - from / length;
            counts.arrivals = bins.values().sum();
            counts.squares = bins.values().map(|n| (n * n) as f64).sum();
        }
        let block = Load::BLOCK.as_nanos() as u64;
        for begin in (from..now).step_by(block as usize) {
            let end = (begin + block).min(now);
            // What comes at the end of a full one belongs to the next, which is not yet there.
            let last = end - begin < block;
            let arrived = |at: &&u64| **at >= begin && (**at < end || last);
            load.blocks.push(super::super::load::Block {
                seconds: seconds(end - begin),
                arrivals: self.arrivals.iter().filter(arrived).count() as u64,
            });
        }
        load
    }

    fn stretches(&self, now: u64) -> impl Iterator<Item = (u64, u64, u32)> {
        let first = [(0, 0)];
        let begins = first.into_iter().chain(self.levels.iter().copied());
        let ends = self.levels.iter().map(|(at, _)| *at).chain([now]);
        begins
            .zip(ends)
            .map(|((from, level), to)| (from, to, level))
    }

    /// Time in use within a stretch of time.
    fn used(&self, since: u64, until: u64, now: u64) -> u64 {
        let used = self.stretches(now).map(|(from, to, level)| {
            to.min(until).saturating_sub(from.max(since)) * u64::from(level)
        });
        used.sum()
    }

    /// The nearest level to the mean during a hold.
    fn mean(&self, back: &Back, now: u64) -> u32 {
        let held = back.at - back.since;
        if held == 0 {
            return back.level;
        }
        let used = self.used(back.since, back.at, now);
        ((2 * used + held) / (2 * held)) as u32
    }

    /// Check-ins in a row, each run from the last one of the run before.
    fn runs(&self) -> impl Iterator<Item = Run> {
        let ends = self.back.chunks_exact(Load::RUN as usize).map(|run| {
            let last = run[run.len() - 1];
            (last.at, last.level, last.changes)
        });
        let begins = [(0, 0, 0)].into_iter().chain(ends.clone());
        begins
            .zip(ends)
            .map(|((began, level, from), (ended, _, to))| {
                let changes = self.levels[from..to].iter().map(|(_, level)| *level);
                Run {
                    began,
                    ended,
                    least: changes.fold(level, u32::min),
                }
            })
    }
}

fn compare(found: &Load, expected: &Load) -> Result<(), TestCaseError> {
    let close = |a: f64, b: f64| (a - b).abs() <= 1e-9 * (1.0 + a.abs());
    prop_assert!(close(found.seconds, expected.seconds));
    prop_assert_eq!(found.arrivals, expected.arrivals);
    prop_assert_eq!(found.unserved, expected.unserved);
    for (found, expected) in [
        (&found.between, &expected.between),
        (&found.held, &expected.held),
    ] {
        prop_assert_eq!(found.count, expected.count);
        prop_assert!(close(found.sum, expected.sum) && close(found.squares, expected.squares));
    }
    prop_assert_eq!(found.queued.count(), expected.queued.count());
    prop_assert_eq!(found.queued.mean(), expected.queued.mean());
    for q in [0.0, 0.5, 0.95, 1.0] {
        prop_assert_eq!(found.queued.quantile(q), expected.queued.quantile(q));
    }
    for (level, expected) in expected.levels.iter().enumerate() {
        let found = found.levels.get(level).copied().unwrap_or_default();
        let of = |at: &AtLevel| {
            let runs = [at.runs.sum, at.runs.squares, at.run_used];
            let times = [at.seconds, at.held, at.measured, at.busy];
            times.into_iter().chain(runs)
        };
        for (a, b) in of(&found).zip(of(expected)) {
            prop_assert!(close(a, b), "{level}: {found:?} instead of {expected:?}");
        }
        let of = |at: &AtLevel| (at.completions, at.holds, at.runs.count);
        prop_assert_eq!(of(&found), of(expected), "{}", level);
    }
    prop_assert_eq!(found.counts, expected.counts);
    prop_assert_eq!(found.blocks.len(), expected.blocks.len());
    for (found, expected) in found.blocks.iter().zip(&expected.blocks) {
        prop_assert!(close(found.seconds, expected.seconds));
        prop_assert_eq!(found.arrivals, expected.arrivals);
    }
    Ok(())
}

struct Both {
    now: u64,
    record: Occupancy,
    memory: Memory,
    waiting: Vec<u64>,
    held: Vec<Held>,
}

impl Both {
    fn step(&mut self, step: Step) {
        if let Step::Passes(nanos) = step {
            self.now += nanos;
        }
        let now = self.now;
        self.record.advance(now, || 10);
        match step {
            Step::Passes(_) => {}
            Step::Take if now.is_multiple_of(3) => {
                self.arrives();
                self.waiting.push(now);
            }
            Step::Take => {
                self.arrives();
                self.granted(0);
            }
            Step::Wait(one) if !self.waiting.is_empty() => {
                let since = self.waiting.swap_remove(one.index(self.waiting.len()));
                self.granted(now - since);
            }
            Step::TimeOut if !self.waiting.is_empty() => {
                let waited = now - self.waiting.remove(0);
                self.record.unserved(Some(Duration::from_nanos(waited)));
                self.memory.unserved.push(now);
                self.memory.queued.push((now, waited));
            }
            Step::GiveBack(one, busy) if !self.held.is_empty() => {
                let level = self.held.len() as u32;
                let held = self.held.swap_remove(one.index(self.held.len()));
                let time = now - held.since;
                let busy = busy.map(|share| time / 256 * u64::from(share));
                self.record.returned(Hold {
                    held: Duration::from_nanos(time),
                    busy: busy.map(Duration::from_nanos),
                    began: held.told,
                });
                let (since, at) = (held.since, now);
                self.memory.back.push(Back {
                    since,
                    at,
                    level,
                    busy,
                    changes: self.memory.levels.len(),
                });
                self.set_level();
            }
            Step::Wait(_) | Step::TimeOut | Step::GiveBack(..) => {}
        }
    }

    fn arrives(&mut self) {
        self.record.arrived(Duration::ZERO);
        self.memory.arrivals.push(self.now);
    }

    fn granted(&mut self, queued: u64) {
        let told = self.record.granted(Duration::from_nanos(queued));
        self.memory.queued.push((self.now, queued));
        self.held.push(Held {
            since: self.now,
            told,
        });
        self.set_level();
    }

    fn set_level(&mut self) {
        let level = self.held.len() as u32;
        self.record.set_level(level, self.waiting.len() as u32);
        self.memory.levels.push((self.now, level));
    }
}

proptest! {
    #[test]
    fn the_record_is_what_one_who_keeps_all_events_would_find(steps in steps()) {
        let mut both = Both {
            now: 0,
            record: Occupancy::new(10),
            memory: Memory::default(),
            waiting: Vec::new(),
            held: Vec::new(),
        };
        let last = steps.len().saturating_sub(1);
        for (number, step) in steps.into_iter().enumerate() {
            both.step(step);
            if number % 10 != 0 && number != last {
                continue;
            }
            let (now, loads) = (both.now, both.record.read().loads());
            let minute = now / MINUTE;
            for (minutes, found) in [(1, &loads.minute), (5, &loads.five_minutes), (60, &loads.hour)] {
                let from = minute.saturating_sub(minutes) * MINUTE;
                compare(found, &both.memory.load(from, now))?;
                prop_assert_eq!(found.limit, Some(10));
            }
        }
    }
}
