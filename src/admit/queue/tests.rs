//! Checks the admission rules against a simple reference model.

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

/// An operation on a gate. The numbers select among the waiters.
#[derive(Debug, Clone, Copy)]
enum Step {
    Arrive,
    /// An admitted checkout returns its permit.
    Release,
    /// A waiter leaves, whether or not it has an answer.
    ConnectPermit(usize),
    /// A waiter collects its answer.
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
        2 => any::<usize>().prop_map(Step::ConnectPermit),
        4 => any::<usize>().prop_map(Step::Collect),
        1 => (1_u32..6).prop_map(Step::Resize),
        1 => Just(Step::Suspend),
        2 => Just(Step::Resume),
        1 => prop_oneof![9 => Just(Step::Resume), 1 => Just(Step::Close)],
    ]
}

/// A reference model of the gate, in plain lists.
#[derive(Debug, Default)]
struct Model {
    capacity: u32,
    inside: u32,
    /// The numbers of the waiters, in order of arrival.
    queued: VecDeque<u32>,
    /// Admitted waiters that have not collected their answer.
    admitted: Vec<u32>,
    /// Rejected waiters that have not collected their answer.
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
            self.admitted.push(next);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, ..ProptestConfig::default() })]

    #[test]
    fn a_gate_behaves_like_the_reference_model(
        capacity in 1_u32..5,
        max_pending in proptest::option::of(0_u32..6),
        steps in proptest::collection::vec(step(), 0..80),
    ) {
        let now = Instant::now();
        let mut gate = AdmissionQueue::new(capacity, Rules { max_pending, ..rules() });
        let mut model = Model { capacity, ..Model::default() };
        let mut keys: Vec<(u32, WaiterKey)> = Vec::new();
        let mut number = 0;
        for step in steps {
            let mut woken = Vec::new();
            match step {
                Step::Arrive => {
                    number += 1;
                    let room = model.inside < model.capacity && model.queued.is_empty();
                    let full = max_pending.is_some_and(|limit| model.queued.len() as u32 >= limit);
                    match gate.enter_or_wait(now, number) {
                        Err(refusal) if model.closed => prop_assert_eq!(refusal, Refused::Closed),
                        Err(refusal) => {
                            let limit = max_pending.unwrap();
                            prop_assert_eq!(refusal, Refused::Rejected(Rejection::TooManyPending { limit }));
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
                    // A waiter that has not collected its answer has no permit to return.
                    if model.inside as usize > model.admitted.len() {
                        woken.extend(gate.release(|| now).0.into_iter().flatten());
                        model.inside -= 1;
                        model.serve();
                    }
                }
                Step::ConnectPermit(which) => {
                    if keys.is_empty() { continue }
                    let (number, key) = keys.swap_remove(which % keys.len());
                    woken.extend(gate.leave(key, || now, &mut None).0.into_iter().flatten());
                    model.queued.retain(|other| *other != number);
                    model.refused.retain(|other| *other != number);
                    if model.admitted.contains(&number) {
                        model.admitted.retain(|other| *other != number);
                        model.inside -= 1;
                        model.serve();
                    }
                }
                Step::Collect(which) => {
                    if keys.is_empty() { continue }
                    let at = which % keys.len();
                    let (number, key) = keys[at];
                    let answer = gate.answer(key, |_| None, &mut None);
                    let expected = if model.admitted.contains(&number) {
                        Some(Ok(()))
                    } else if model.refused.contains(&number) {
                        Some(Err(Refused::Closed))
                    } else {
                        None
                    };
                    prop_assert_eq!(answer, expected);
                    if answer.is_some() {
                        keys.swap_remove(at);
                        model.admitted.retain(|other| *other != number);
                        model.refused.retain(|other| *other != number);
                    }
                }
                Step::Resize(capacity) => {
                    woken.extend(gate.resize(capacity, || now).0.into_iter().flatten());
                    model.capacity = capacity;
                    model.serve();
                }
                Step::Suspend => {
                    woken.extend(gate.suspend().0.into_iter().flatten());
                    model.suspended = true;
                }
                Step::Resume => {
                    woken.extend(gate.resume(now).0.into_iter().flatten());
                    model.suspended = false;
                    model.serve();
                }
                Step::Close => {
                    woken.extend(gate.close(Refused::Closed).0.into_iter().flatten());
                    model.closed = true;
                    model.refused.extend(model.queued.drain(..));
                }
            }
            // Only waiters with an answer are woken.
            for number in woken {
                prop_assert!(model.admitted.contains(&number) || model.refused.contains(&number));
            }
            prop_assert_eq!(gate.admitted, model.inside);
            prop_assert_eq!(gate.pending() as usize, model.queued.len());
            // Work-conserving: no checkout waits while a permit is free.
            prop_assert!(
                model.queued.is_empty() || model.suspended || model.inside >= model.capacity
            );
        }
        // After all waiters leave, the queue is empty.
        for (_, key) in keys {
            let _ = gate.leave(key, || now, &mut None);
        }
        prop_assert_eq!(gate.pending(), 0);
    }
}

/// Returns a gate whose only permit is taken, so that every newcomer waits.
fn full(rules: Rules) -> AdmissionQueue<u32> {
    let mut gate = AdmissionQueue::new(1, rules);
    assert_eq!(gate.enter(), Ok(true));
    gate
}

fn shedding(target: u64, interval: u64) -> Rules {
    let (target, interval) = (
        Duration::from_millis(target),
        Duration::from_millis(interval),
    );
    Rules {
        shedding: Some(CoDel::new(target, interval)),
        ..rules()
    }
}

fn arrive(gate: &mut AdmissionQueue<u32>, now: Instant) -> WaiterKey {
    gate.enter_or_wait(now, 0).unwrap().unwrap()
}

#[test]
fn each_waiter_is_woken_exactly_once() {
    let now = Instant::now();
    let mut gate = full(rules());
    for waiter in 1..=3 {
        gate.enter_or_wait(now, waiter).unwrap().unwrap();
    }
    let woken: Vec<_> = gate.resize(3, || now).0.into_iter().flatten().collect();
    assert_eq!(woken, [1, 2]);
    let woken: Vec<_> = gate
        .close(Refused::Closed)
        .0
        .into_iter()
        .flatten()
        .collect();
    assert_eq!(woken, [3]);
    assert_eq!(
        gate.close(Refused::Closed).0.into_iter().flatten().count(),
        0
    );
}

#[test]
fn a_suspended_gate_rejects_if_configured() {
    let now = Instant::now();
    let mut gate = full(Rules {
        fails_when_suspended: true,
        ..rules()
    });
    let key = gate.enter_or_wait(now, 7).unwrap().unwrap();
    assert_eq!(
        gate.suspend().0.into_iter().flatten().collect::<Vec<_>>(),
        [7]
    );
    assert_eq!(
        gate.answer(key, |_| None, &mut None),
        Some(Err(Refused::Suspended))
    );
    assert_eq!(gate.enter(), Err(Refused::Suspended));
    let _ = gate.resume(now);
    let _ = gate.release(|| now);
    assert_eq!(gate.enter(), Ok(true));
}

#[test]
fn a_queue_faster_than_its_target_sheds_no_checkout() {
    let start = Instant::now();
    let mut gate = full(shedding(50, 100));
    let at = |ms| start + Duration::from_millis(ms);
    // Each checkout waits for 40 ms, less than the target, over 4 s.
    let mut waiter = arrive(&mut gate, at(0));
    for ms in (40..4000).step_by(40) {
        let next = arrive(&mut gate, at(ms));
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
    let old: Vec<_> = (0..3).map(|ms| arrive(&mut gate, at(ms))).collect();
    // The first is admitted after 60 ms. The second comes up after 164 ms, so the queue was slow for
    // the whole interval that began with the first.
    let _ = gate.release(|| at(60));
    assert_eq!(gate.answer(old[0], |_| None, &mut None), Some(Ok(())));
    let young = arrive(&mut gate, at(99));
    let _ = gate.release(|| at(165));
    let shed = |queued| {
        Some(Err(Refused::Rejected(Rejection::Shed {
            queued: Duration::from_millis(queued),
        })))
    };
    assert_eq!(gate.answer(old[1], |_| None, &mut None), shed(164));
    assert_eq!(gate.answer(old[2], |_| None, &mut None), shed(163));
    // The young waiter has queued for 66 ms, less than twice the target.
    assert_eq!(gate.answer(young, |_| None, &mut None), Some(Ok(())));
    assert_eq!((gate.admitted, gate.pending()), (1, 0));
}

#[test]
fn a_newcomer_that_would_queue_too_long_is_rejected_at_once() {
    let start = Instant::now();
    let at = |ms| start + Duration::from_millis(ms);
    let mut gate = full(shedding(50, 100));
    // One checkout is admitted every 20 ms, and six wait.
    for _ in 0..6 {
        arrive(&mut gate, at(0));
    }
    for ms in (20..200).step_by(20) {
        let _ = gate.release(|| at(ms));
        arrive(&mut gate, at(ms));
    }
    // Two waiters are shed, the next is admitted, and three still wait.
    let _ = gate.release(|| at(200));
    assert_eq!(gate.pending(), 3);
    // At this rate, five checkouts are admitted within twice the target.
    arrive(&mut gate, at(201));
    arrive(&mut gate, at(201));
    let turned_away = gate.enter_or_wait(at(201), 0).unwrap_err();
    assert_eq!(
        turned_away,
        Refused::Rejected(Rejection::Shed {
            queued: Duration::ZERO
        })
    );
    // Once the queue is empty, a newcomer is admitted at once.
    for _ in 0..6 {
        let _ = gate.release(|| at(202));
    }
    assert_eq!(gate.pending(), 0);
    assert_eq!(gate.enter(), Ok(true));
}

#[test]
fn waiters_of_a_stalled_queue_give_up() {
    let start = Instant::now();
    let at = |ms| start + Duration::from_millis(ms);
    let mut gate = full(shedding(50, 100));
    let waiter = arrive(&mut gate, at(0));
    assert_eq!(gate.overdue(waiter, at(99), &mut None), None);
    let shed = gate.overdue(waiter, at(100), &mut None);
    let queued = Duration::from_millis(100);
    assert_eq!(shed, Some(Refused::Rejected(Rejection::Shed { queued })));
    assert_eq!(gate.pending(), 0);
    // No checkout was admitted for a whole interval, so a newcomer would wait in vain.
    assert_eq!(
        gate.enter_or_wait(at(101), 0),
        Err(Refused::Rejected(Rejection::Shed {
            queued: Duration::ZERO
        }))
    );
}

#[test]
fn queue_time_while_suspended_does_not_count() {
    let start = Instant::now();
    let at = |ms| start + Duration::from_millis(ms);
    let mut gate = full(shedding(50, 100));
    let _ = gate.suspend();
    let waiters = [0, 1, 2, 3].map(|ms| arrive(&mut gate, at(ms)));
    let _ = gate.release(|| at(500));
    assert_eq!(gate.overdue(waiters[0], at(900), &mut None), None);
    let _ = gate.resume(at(1000));
    assert_eq!(gate.answer(waiters[0], |_| None, &mut None), Some(Ok(())));
    let _ = gate.release(|| at(1101));
    assert_eq!(gate.answer(waiters[1], |_| None, &mut None), Some(Ok(())));
    // The queue was slow for an interval, and 202 ms since the resume exceed twice the target.
    let _ = gate.release(|| at(1202));
    let shed = Refused::Rejected(Rejection::Shed {
        queued: Duration::from_millis(202),
    });
    assert_eq!(
        gate.answer(waiters[2], |_| None, &mut None),
        Some(Err(shed))
    );
    // The last waiter is served late instead of being shed.
    assert_eq!(gate.answer(waiters[3], |_| None, &mut None), Some(Ok(())));
}

#[test]
fn an_idle_hour_does_not_count_as_slow() {
    let start = Instant::now();
    let at = |ms| start + Duration::from_millis(ms);
    let mut gate = full(shedding(50, 100));
    let first = arrive(&mut gate, at(0));
    let _ = gate.release(|| at(10));
    assert_eq!(gate.answer(first, |_| None, &mut None), Some(Ok(())));
    // The next checkout arrives an hour later.
    let later = arrive(&mut gate, at(3_600_000));
    let _ = gate.release(|| at(3_600_200));
    assert_eq!(gate.answer(later, |_| None, &mut None), Some(Ok(())));
}

#[test]
fn memory_is_freed_after_a_burst() {
    let now = Instant::now();
    let mut gate = full(rules());
    let keys: Vec<_> = (0..10_000).map(|_| arrive(&mut gate, now)).collect();
    assert_eq!(gate.pending(), 10_000);
    for key in keys {
        let _ = gate.leave(key, || now, &mut None);
    }
    assert_eq!(gate.places.memory(), 0);
}
