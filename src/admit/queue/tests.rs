//! The rules, against a model that is too simple to be wrong.

use std::collections::VecDeque;

use proptest::prelude::*;

use super::*;

fn rules() -> Rules {
    Rules {
        max_pending: None,
        shedding: None,
        fails_when_suspended: false,
    }
}

/// What may happen to a gate. Numbers choose among those who are in, or wait.
#[derive(Debug, Clone, Copy)]
enum Step {
    Arrive,
    /// Somebody who is in leaves.
    Release,
    /// A waiter goes away, told already or not.
    Leave(usize),
    /// A waiter that was told comes for its answer.
    Collect(usize),
    Resize(u32),
    Suspend,
    Resume,
    Close,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => Just(Step::Arrive),
        6 => Just(Step::Release),
        2 => any::<usize>().prop_map(Step::Leave),
        4 => any::<usize>().prop_map(Step::Collect),
        1 => (1_u32..6).prop_map(Step::Resize),
        1 => Just(Step::Suspend),
        2 => Just(Step::Resume),
        1 => prop_oneof![9 => Just(Step::Resume), 1 => Just(Step::Close)],
    ]
}

/// The same gate, told in sets and lists.
#[derive(Debug, Default)]
struct Model {
    capacity: u32,
    inside: u32,
    /// Waiters in the order of their coming, by number.
    queued: VecDeque<u32>,
    /// Those let in who have not come yet, and those refused.
    let_in: Vec<u32>,
    refused: Vec<u32>,
    suspended: bool,
    closed: bool,
}

impl Model {
    fn serve(&mut self) {
        while !self.suspended
            && !self.closed
            && self.inside < self.capacity
            && let Some(next) = self.queued.pop_front()
        {
            self.inside += 1;
            self.let_in.push(next);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, ..ProptestConfig::default() })]

    #[test]
    fn a_gate_is_its_model(
        capacity in 1_u32..5,
        max_pending in proptest::option::of(0_u32..6),
        steps in proptest::collection::vec(step(), 0..80),
    ) {
        let now = Instant::now();
        let mut gate = Queue::new(capacity, Rules { max_pending, ..rules() });
        let mut model = Model { capacity, ..Model::default() };
        let mut keys: Vec<(u32, Key)> = Vec::new();
        let mut number = 0;
        for step in steps {
            let mut woken = Vec::new();
            match step {
                Step::Arrive => {
                    number += 1;
                    let room = model.inside < model.capacity && model.queued.is_empty();
                    let full = max_pending.is_some_and(|limit| model.queued.len() as u32 >= limit);
                    match gate.enter_or_wait(now, number) {
                        Err(refusal) if model.closed => prop_assert_eq!(refusal, Refusal::Closed),
                        Err(refusal) => {
                            let limit = max_pending.unwrap();
                            prop_assert_eq!(refusal, Refusal::TooManyPending { limit });
                            prop_assert!(full && (!room || model.suspended));
                        }
                        Ok(None) => {
                            prop_assert!(room && !model.suspended && !model.closed);
                            model.inside += 1;
                        }
                        Ok(Some(key)) => {
                            prop_assert!((!room || model.suspended) && !full && !model.closed);
                            model.queued.push_back(number);
                            keys.push((number, key));
                        }
                    }
                }
                Step::Release => {
                    // Only who has come can leave.
                    if model.inside as usize > model.let_in.len() {
                        woken.extend(gate.release(|| now).into_each());
                        model.inside -= 1;
                        model.serve();
                    }
                }
                Step::Leave(which) => {
                    if keys.is_empty() { continue }
                    let (number, key) = keys.swap_remove(which % keys.len());
                    woken.extend(gate.leave(key, || now, &mut None).into_each());
                    model.queued.retain(|other| *other != number);
                    model.refused.retain(|other| *other != number);
                    if model.let_in.contains(&number) {
                        model.let_in.retain(|other| *other != number);
                        model.inside -= 1;
                        model.serve();
                    }
                }
                Step::Collect(which) => {
                    if keys.is_empty() { continue }
                    let at = which % keys.len();
                    let (number, key) = keys[at];
                    let answer = gate.answer(key, |_| None, &mut None);
                    let expected = if model.let_in.contains(&number) {
                        Some(Ok(()))
                    } else if model.refused.contains(&number) {
                        Some(Err(Refusal::Closed))
                    } else {
                        None
                    };
                    prop_assert_eq!(answer, expected);
                    if answer.is_some() {
                        keys.swap_remove(at);
                        model.let_in.retain(|other| *other != number);
                        model.refused.retain(|other| *other != number);
                    }
                }
                Step::Resize(capacity) => {
                    woken.extend(gate.resize(capacity, || now).into_each());
                    model.capacity = capacity;
                    model.serve();
                }
                Step::Suspend => {
                    woken.extend(gate.suspend().into_each());
                    model.suspended = true;
                }
                Step::Resume => {
                    woken.extend(gate.resume(now).into_each());
                    model.suspended = false;
                    model.serve();
                }
                Step::Close => {
                    woken.extend(gate.close().into_each());
                    model.closed = true;
                    model.refused.extend(model.queued.drain(..));
                }
            }
            // Whoever is woken has an answer, and nobody who has one is asleep: each is woken once.
            for number in woken {
                prop_assert!(model.let_in.contains(&number) || model.refused.contains(&number));
            }
            prop_assert_eq!(gate.admitted(), model.inside);
            prop_assert_eq!(gate.pending() as usize, model.queued.len());
            // Work-conserving: nobody waits while there is room.
            prop_assert!(
                model.queued.is_empty() || model.suspended || model.inside >= model.capacity
            );
        }
        // All go away: nothing is left.
        for (_, key) in keys {
            let _ = gate.leave(key, || now, &mut None);
        }
        prop_assert_eq!(gate.pending(), 0);
    }
}

/// A gate of one, all the way in, so that everybody else waits.
fn full(rules: Rules) -> Queue<u32> {
    let mut gate = Queue::new(1, rules);
    assert_eq!(gate.enter(), Ok(true));
    gate
}

fn shedding(target: u64, interval: u64) -> Rules {
    let (target, interval) = (
        Duration::from_millis(target),
        Duration::from_millis(interval),
    );
    Rules {
        shedding: Some(Shedding::new(target, interval)),
        ..rules()
    }
}

fn come(gate: &mut Queue<u32>, now: Instant) -> Key {
    gate.enter_or_wait(now, 0).unwrap().unwrap()
}

#[test]
fn everybody_is_woken_exactly_once() {
    let now = Instant::now();
    let mut gate = full(rules());
    for waiter in 1..=3 {
        gate.enter_or_wait(now, waiter).unwrap().unwrap();
    }
    let woken: Vec<_> = gate.resize(3, || now).into_each().collect();
    assert_eq!(woken, [1, 2]);
    let woken: Vec<_> = gate.close().into_each().collect();
    assert_eq!(woken, [3]);
    assert_eq!(gate.close().into_each().count(), 0);
}

#[test]
fn a_suspended_gate_may_refuse() {
    let now = Instant::now();
    let mut gate = full(Rules {
        fails_when_suspended: true,
        ..rules()
    });
    let key = gate.enter_or_wait(now, 7).unwrap().unwrap();
    assert_eq!(gate.suspend().into_each().collect::<Vec<_>>(), [7]);
    assert_eq!(
        gate.answer(key, |_| None, &mut None),
        Some(Err(Refusal::Suspended))
    );
    assert_eq!(gate.enter(), Err(Refusal::Suspended));
    let _ = gate.resume(now);
    let _ = gate.release(|| now);
    assert_eq!(gate.enter(), Ok(true));
}

#[test]
fn a_queue_that_moves_sheds_nobody() {
    let start = Instant::now();
    let mut gate = full(shedding(50, 100));
    let at = |ms| start + Duration::from_millis(ms);
    // Each waits for 40 ms, for a long time.
    let mut waiter = come(&mut gate, at(0));
    for ms in (40..4000).step_by(40) {
        let next = come(&mut gate, at(ms));
        let _ = gate.release(|| at(ms));
        assert_eq!(gate.answer(waiter, |_| None, &mut None), Some(Ok(())));
        waiter = next;
    }
}

#[test]
fn a_queue_slower_than_its_target_for_an_interval_sheds_the_oldest() {
    let start = Instant::now();
    let at = |ms| start + Duration::from_millis(ms);
    let mut gate = full(shedding(50, 100));
    let old: Vec<_> = (0..3).map(|ms| come(&mut gate, at(ms))).collect();
    // The first is let in after 60 ms, the second after 160: slow for the whole interval that began
    // with the first.
    let _ = gate.release(|| at(60));
    assert_eq!(gate.answer(old[0], |_| None, &mut None), Some(Ok(())));
    let young = come(&mut gate, at(99));
    let _ = gate.release(|| at(165));
    let shed = |queued| {
        Some(Err(Refusal::Shed {
            queued: Duration::from_millis(queued),
        }))
    };
    assert_eq!(gate.answer(old[1], |_| None, &mut None), shed(164));
    assert_eq!(gate.answer(old[2], |_| None, &mut None), shed(163));
    // Who has queued for 65 ms is not too late.
    assert_eq!(gate.answer(young, |_| None, &mut None), Some(Ok(())));
    assert_eq!((gate.admitted(), gate.pending()), (1, 0));
}

#[test]
fn a_newcomer_that_would_be_too_late_is_turned_away_at_once() {
    let start = Instant::now();
    let at = |ms| start + Duration::from_millis(ms);
    let mut gate = full(shedding(50, 100));
    // One in 20 ms is let in, and six wait.
    for _ in 0..6 {
        come(&mut gate, at(0));
    }
    for ms in (20..200).step_by(20) {
        let _ = gate.release(|| at(ms));
        come(&mut gate, at(ms));
    }
    // Two of them are too late by now, the next is served, and three wait on.
    let _ = gate.release(|| at(200));
    assert_eq!(gate.pending(), 3);
    // Five are served within twice the target.
    come(&mut gate, at(201));
    come(&mut gate, at(201));
    let turned_away = gate.enter_or_wait(at(201), 0).unwrap_err();
    assert_eq!(
        turned_away,
        Refusal::Shed {
            queued: Duration::ZERO
        }
    );
    // The queue empties, and one who comes later is let in at once.
    for _ in 0..6 {
        let _ = gate.release(|| at(202));
    }
    assert_eq!(gate.pending(), 0);
    assert_eq!(gate.enter(), Ok(true));
}

#[test]
fn where_nothing_moves_those_who_wait_give_up_by_themselves() {
    let start = Instant::now();
    let at = |ms| start + Duration::from_millis(ms);
    let mut gate = full(shedding(50, 100));
    let waiter = come(&mut gate, at(0));
    assert_eq!(gate.overdue(waiter, at(99), &mut None), None);
    let shed = gate.overdue(waiter, at(100), &mut None);
    let queued = Duration::from_millis(100);
    assert_eq!(shed, Some(Refusal::Shed { queued }));
    assert_eq!(gate.pending(), 0);
    // Nobody was let in for a whole interval: one more would wait in vain.
    assert_eq!(
        gate.enter_or_wait(at(101), 0),
        Err(Refusal::Shed {
            queued: Duration::ZERO
        })
    );
}

#[test]
fn what_was_queued_while_suspended_does_not_count() {
    let start = Instant::now();
    let at = |ms| start + Duration::from_millis(ms);
    let mut gate = full(shedding(50, 100));
    let _ = gate.suspend();
    let waiters = [0, 1, 2, 3].map(|ms| come(&mut gate, at(ms)));
    let _ = gate.release(|| at(500));
    assert_eq!(gate.overdue(waiters[0], at(900), &mut None), None);
    let _ = gate.resume(at(1000));
    assert_eq!(gate.answer(waiters[0], |_| None, &mut None), Some(Ok(())));
    let _ = gate.release(|| at(1101));
    assert_eq!(gate.answer(waiters[1], |_| None, &mut None), Some(Ok(())));
    // Slow for an interval: 202 ms since it was resumed are too many.
    let _ = gate.release(|| at(1202));
    let shed = Refusal::Shed {
        queued: Duration::from_millis(202),
    };
    assert_eq!(
        gate.answer(waiters[2], |_| None, &mut None),
        Some(Err(shed))
    );
    // The last is served late rather than nobody.
    assert_eq!(gate.answer(waiters[3], |_| None, &mut None), Some(Ok(())));
}

#[test]
fn a_quiet_hour_is_not_slow() {
    let start = Instant::now();
    let at = |ms| start + Duration::from_millis(ms);
    let mut gate = full(shedding(50, 100));
    let first = come(&mut gate, at(0));
    let _ = gate.release(|| at(10));
    assert_eq!(gate.answer(first, |_| None, &mut None), Some(Ok(())));
    // An hour later.
    let later = come(&mut gate, at(3_600_000));
    let _ = gate.release(|| at(3_600_200));
    assert_eq!(gate.answer(later, |_| None, &mut None), Some(Ok(())));
}

#[test]
fn a_burst_gives_its_memory_back() {
    let now = Instant::now();
    let mut gate = full(rules());
    let keys: Vec<_> = (0..10_000).map(|_| come(&mut gate, now)).collect();
    assert_eq!(gate.pending(), 10_000);
    for key in keys {
        let _ = gate.leave(key, || now, &mut None);
    }
    assert_eq!(gate.places.memory(), 0);
}
