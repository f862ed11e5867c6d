//! Properties of the model for any load and any record.

use std::collections::HashMap;
use std::sync::Arc;

use proptest::prelude::*;
use proptest::test_runner::RngSeed;

use super::loads::{Coming, Hold, Load, Time};
use crate::advice::bottleneck::Bottleneck;
use crate::advice::model::clients::Clients;
use crate::advice::model::simulator::Station;
use crate::advice::model::trace::Queries;
use crate::advice::model::{Checkout, Model, Prediction, Recorded, Trace, smallest};
use crate::record::history::{Counted, Entry, NEVER, Segment};

fn micros() -> impl Strategy<Value = u32> {
    prop_oneof![
        6 => 0_u32..60_000_000,
        1 => Just(NEVER),
        1 => Just(NEVER - 1),
        1 => Just(0),
        1 => any::<u32>(),
    ]
}

prop_compose! {
    fn any_entry()(
        asked in prop_oneof![6 => 0_i32..60_000_000, 1 => any::<i32>()],
        granted in micros(),
        returned in micros(),
        first in micros(),
        last in micros(),
        busy in micros(),
        request in prop_oneof![3 => Just(0), 2 => 0_u32..20, 1 => any::<u32>()],
        place in prop_oneof![3 => 0_u16..3, 1 => any::<u16>()],
        size in prop_oneof![3 => 0_u16..30, 1 => any::<u16>()],
    ) -> Entry {
        Entry { asked, granted, returned, first, last, busy, request, place, size }
    }
}

/// Returns a segment that repeats the entries, each time a little later.
fn any_segment() -> impl Strategy<Value = Counted> {
    let entries = prop::collection::vec(any_entry(), 0..60);
    let began = prop_oneof![3 => 0_u64..60_000_000_000, 1 => 0_u64..1 << 60];
    let length = prop_oneof![3 => 20_000_000_000_u64..90_000_000_000, 1 => 0_u64..1 << 60];
    let asked = prop_oneof![3 => 0_u64..5000, 1 => any::<u64>()];
    (
        entries,
        began,
        length,
        any::<bool>(),
        asked,
        1_u32..70,
        0_u32..100_000,
    )
        .prop_map(|(entries, began, length, follows, asked, times, later)| {
            let repeated = (0..times).flat_map(|time| {
                let later = time.wrapping_mul(later);
                entries.iter().map(move |entry| {
                    let add = |micros: u32| match micros {
                        NEVER => NEVER,
                        micros => micros.saturating_add(later),
                    };
                    Entry {
                        asked: entry.asked.saturating_add_unsigned(later),
                        granted: add(entry.granted),
                        returned: add(entry.returned),
                        first: add(entry.first),
                        last: add(entry.last),
                        ..*entry
                    }
                })
            });
            let segment = Segment::of(began, began + length, follows, repeated.collect());
            Counted {
                segment: Arc::new(segment),
                asked,
            }
        })
}

/// Returns checkouts that no segment could contain.
fn any_trace() -> impl Strategy<Value = Trace> {
    let time = || {
        prop_oneof![
            6 => 0.0..40.0_f64,
            1 => Just(f64::INFINITY),
            1 => Just(0.0),
            1 => 0.0..1e12_f64,
            1 => Just(1e-300),
        ]
    };
    let queries = prop::option::of((time(), time(), time()));
    let checkout = (0.0..40.0_f64, time(), time(), queries, 0_u32..9, 0_u16..4);
    let checkout = checkout.prop_map(|(asked, queued, held, queries, request, place)| Checkout {
        asked,
        granted: asked + queued,
        returned: asked + queued.min(1e9) + held,
        queries: queries.map(|(first, last, busy)| Queries {
            first: asked + queued + first,
            last: asked + queued + first + last,
            busy,
        }),
        request,
        place,
        size: place,
    });
    (prop::collection::vec(checkout, 1000..2500), 0.0..1e6_f64).prop_map(|(checkouts, asked)| {
        let mut trace = Trace::default();
        trace.add(checkouts, 0.0, 40.0, asked);
        trace
    })
}

fn check_sane(found: &Prediction) -> Result<(), TestCaseError> {
    let all = [
        found.utilization,
        found.served,
        found.queueing,
        found.mean,
        found.p50,
        found.p95,
        found.p99,
        found.p95_range.0,
    ];
    prop_assert!(all.iter().all(|figure| *figure >= 0.0), "{:?}", found);
    prop_assert!(found.queueing <= 1.0, "{:?}", found);
    prop_assert!(found.served.is_finite(), "{:?}", found);
    let (least, most) = found.p95_range;
    for (less, more) in [
        (found.p50, found.p95),
        (found.p95, found.p99),
        (least, found.p95),
        (found.p95, most),
    ] {
        prop_assert!(less <= more, "{:?}", found);
    }
    Ok(())
}

fn check_answers(trace: &Trace, size: u32, load: f64) -> Result<(), TestCaseError> {
    let recorded = Recorded::of(trace);
    let figures = [
        recorded.rate,
        recorded.held,
        recorded.queued_p95,
        recorded.demand(),
    ];
    prop_assert!(figures.iter().all(|it| *it >= 0.0), "{:?}", recorded);
    let Ok(model) = Model::learn(trace) else {
        return Ok(());
    };
    check_sane(&model.at(size, load))?;
    for size in [0, 1, 7] {
        check_sane(&model.at(size, 1.0))?;
    }
    prop_assert!(model.replay.throughput(size % 40) >= 0.0);
    prop_assert!(
        (0.0..=1.0).contains(&model.fit.left),
        "{:?}",
        model.fit.left
    );
    let bottleneck = Bottleneck::of(&model, &HashMap::new());
    prop_assert!(bottleneck.saturates_at.is_none_or(|level| level >= 1));
    prop_assert!(bottleneck.most_per_second.is_none_or(|rate| rate >= 0.0));
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn any_entries_have_sane_answers(
        segments in prop::collection::vec(any_segment(), 0..4),
        size in any::<u32>(),
        load in prop_oneof![0.0..3.0, any::<f64>(), Just(f64::NAN), Just(f64::INFINITY)],
    ) {
        check_answers(&Trace::of(&segments), size, load)?;
    }

    #[test]
    fn any_checkouts_have_sane_answers(trace in any_trace(), size in 0_u32..20) {
        check_answers(&trace, size, 1.0)?;
        check_answers(&trace.between(3.0, 35.0), size, 1.0)?;
    }
}

fn load() -> impl Strategy<Value = Load> {
    let rate = 70.0..250.0_f64;
    let coming = prop_oneof![
        3 => rate.clone().prop_map(Coming::Poisson),
        1 => rate.clone().prop_map(Coming::Bursts),
        1 => rate.clone().prop_map(Coming::OnOff),
        1 => rate.clone().prop_map(Coming::Doubling),
        1 => rate.prop_map(Coming::Requests),
        2 => (4_u32..30, 0.0..0.1_f64).prop_map(|(number, think)| Coming::Clients(number, think)),
    ];
    let time = prop_oneof![
        (0.001..0.02_f64).prop_map(Time::Exponential),
        (0.001..0.02_f64).prop_map(Time::Steady),
        (0.001..0.02_f64).prop_map(Time::TenthSlow),
        (0.001..0.01_f64).prop_map(|mean| Time::HeavyTailed(mean, 1.0)),
    ];
    let station = prop_oneof![
        2 => Just(Station::Free),
        1 => Just(Station::Lock),
        1 => (1.0..5.0_f64).prop_map(Station::Shared),
    ];
    (coming, time.clone(), time, station, any::<bool>()).prop_map(
        |(coming, outside, query, station, watched)| Load {
            watched,
            ..Load::new(coming, Hold::new(outside, query), station, 21.0)
        },
    )
}

/// The tolerance for shared processors and locks: one more connection changes the order of holds, which
/// can make some of them a little longer.
const TOLERANCE: f64 = 0.1;

/// In seconds.
const NOTHING: f64 = 5e-4;

fn waits_no_longer(less: &Prediction, more: &Prediction, tolerance: f64) -> bool {
    let within = |a: f64, b: f64| a <= b * (1.0 + tolerance) + NOTHING * tolerance.min(1.0);
    within(less.mean, more.mean) && within(less.p95, more.p95)
}

proptest! {
    // A statistical property: with other loads, some exceed a tolerance. So the loads are always the same.
    #![proptest_config(ProptestConfig {
        rng_seed: RngSeed::Fixed(1),
        ..ProptestConfig::with_cases(20)
    })]

    #[test]
    fn more_load_never_waits_less_and_more_connections_never_more(
        load in load(),
        observed in 4_u32..20,
        seed in any::<u64>(),
    ) {
        let trace = load.run(observed, seed).trace;
        let Ok(model) = Model::learn(&trace) else {
            // Too few checkouts arrived.
            return Ok(());
        };
        let is_open = !matches!(load.coming, Coming::Clients(..));
        prop_assert!(!(is_open && model.recorded.clients.is_some()), "{:?}", model.recorded.clients);
        for size in [2, 5, 9, 14] {
            let (at, next) = (model.at(size, 1.0), model.at(size + 1, 1.0));
            check_sane(&at)?;
            prop_assert!(waits_no_longer(&next, &at, TOLERANCE), "{:?} {:?}", at, next);
            let busier = model.at(size, 1.2);
            prop_assert!(waits_no_longer(&at, &busier, TOLERANCE), "{:?} {:?}", at, busier);
        }
        // The same record gives the same answer.
        let again = Model::learn(&trace).unwrap();
        prop_assert_eq!(again.at(5, 1.2), model.at(5, 1.2));
        prop_assert_eq!(again.at(5, 1.0), model.at(5, 1.0));
    }
}

/// The queue of a lock grows whenever requests arrive, and shrinks while none do, as if clients waited.
#[test]
fn open_arrivals_in_every_other_second_are_no_clients() {
    let hold = Hold::new(Time::Exponential(0.008), Time::TenthSlow(0.008));
    for rate in [120.0, 160.0, 240.0] {
        for seed in 0..6 {
            let mut load = Load::new(Coming::OnOff(rate), hold, Station::Lock, 21.0);
            load.watched = seed % 2 == 0;
            let clients = Clients::of(&load.run(4, seed).trace);
            assert_eq!(clients, None, "{rate} {seed}");
        }
    }
}

#[test]
fn too_little_data_is_reported() {
    let hold = Hold::new(Time::Steady(0.002), Time::Steady(0.003));
    let missing = |rate, seconds| {
        let load = Load::new(Coming::Poisson(rate), hold, Station::Free, seconds);
        Model::learn(&load.run(4, 1).trace).err()
    };
    let few = missing(30.0, 12.5).unwrap();
    assert_eq!(few.seconds_more, 8.0);
    assert!((560..=690).contains(&few.checkouts_more), "{few:?}");
    let fast = missing(500.0, 12.5).unwrap();
    assert_eq!(fast.checkouts_more, 0);
    let slow = missing(30.0, 25.0).unwrap();
    assert_eq!((slow.seconds_more, slow.checkouts_more > 0), (0.0, true));
    assert_eq!(missing(60.0, 21.0), None);
    let nothing = Model::learn(&Trace::default()).unwrap_err();
    assert_eq!((nothing.seconds_more, nothing.checkouts_more), (20.0, 1000));
}

#[test]
fn twenty_seconds_with_a_thousand_checkouts_are_enough() {
    let hold = Hold::new(Time::Exponential(0.01), Time::Exponential(0.01));
    let load = Load::new(Coming::Poisson(55.0), hold, Station::Free, 20.2);
    let model = Model::learn(&load.run(4, 3).trace).unwrap();
    let found = smallest(100, |size| model.at(size, 1.2).p95 <= 0.005);
    assert!(
        found.is_some_and(|size| (3..=5).contains(&size)),
        "{found:?}"
    );
}

/// With twelve clients that wait for their responses, at most twelve requests are concurrent.
#[test]
fn concurrent_requests_are_limited_by_the_clients() {
    let hold = Hold::new(Time::Steady(0.002), Time::Steady(0.003));
    let load = Load::new(Coming::Clients(12, 0.002), hold, Station::Free, 21.0);
    let model = Model::learn(&load.run(6, 3).trace).unwrap();
    assert!(model.at(6, 1.0).p95 > 0.0);
    for (size, times) in [(12, 1.0), (12, 0.5), (15, 1.25), (18, 1.5), (30, 2.5)] {
        let found = model.at(size, times);
        assert_eq!(
            (found.queueing, found.p99),
            (0.0, 0.0),
            "{size} with {times}"
        );
    }
    assert!(model.at(8, 1.5).p95 > 1.2 * model.at(8, 1.0).p95);
}

/// Reproduces a user's case: sixteen clients on five connections, each held for less than a millisecond,
/// for which a p95 wait of 1438 ms was predicted.
#[test]
fn sixteen_clients_on_five_connections_queue_as_measured() {
    for (think, regular, times) in [
        (0.0, false, &[20.2] as &[f64]),
        (0.004, false, &[20.2, 40.0, 60.0]),
        (0.003, true, &[20.2]),
    ] {
        let time = |mean| match regular {
            true => Time::Steady(mean),
            false => Time::Exponential(mean),
        };
        let hold = Hold::new(time(0.0004), time(0.0005));
        for seconds in times.iter().copied() {
            let load = Load::new(Coming::Clients(16, think), hold, Station::Free, seconds);
            let seen = load.run(5, 9);
            let model = Model::learn(&seen.trace).unwrap();
            assert_eq!(
                model.recorded.clients.map(|it| it.number),
                Some(16),
                "{think} {seconds}"
            );
            let (found, measured) = (model.at(5, 1.0), seen.p95());
            println!(
                "{think} {seconds} s: {:.3} of {:.3} ms",
                found.p95 * 1e3,
                measured * 1e3
            );
            assert!(measured < 0.007);
            assert!((found.p95 - measured).abs() < 0.1 * measured + 2e-5);
            assert!(model.at(5, 1.2).p95 < 2.0 * measured + 1e-4);
            assert_eq!(model.at(16, 1.0).p95, 0.0);
        }
    }
}
