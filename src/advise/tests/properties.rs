//! What holds of any load, and of any figures that may be found in its place.

use proptest::prelude::*;

use super::simulation::{Arrivals, Scenario, Station, Time};
use super::size::smallest;
use crate::advise::{Model, NotEnough, Prediction};
use crate::observe::load::{AtLevel, Block, Counts, Load, Moments};

fn figure() -> impl Strategy<Value = f64> {
    prop_oneof![
        6 => 0.0..1e3_f64,
        2 => 0.0..1e-3_f64,
        1 => Just(0.0),
        1 => Just(f64::NAN),
        1 => Just(f64::INFINITY),
        1 => Just(f64::NEG_INFINITY),
        1 => Just(-1.0),
        1 => Just(f64::MAX),
        1 => Just(f64::MIN_POSITIVE),
    ]
}

fn count() -> impl Strategy<Value = u64> {
    prop_oneof![6 => 0_u64..100_000, 1 => Just(0), 1 => Just(1), 1 => Just(u64::MAX)]
}

fn moments() -> impl Strategy<Value = Moments> {
    (count(), figure(), figure()).prop_map(|(count, sum, squares)| Moments {
        count,
        sum,
        squares,
    })
}

fn level() -> impl Strategy<Value = AtLevel> {
    let times = prop::array::uniform5(figure());
    (times, count(), count(), moments()).prop_map(
        |([seconds, held, measured, busy, run_used], completions, holds, runs)| AtLevel {
            seconds,
            completions,
            holds,
            held,
            measured,
            busy,
            runs,
            run_used,
        },
    )
}

fn counts() -> impl Strategy<Value = Counts> {
    (count(), count(), figure()).prop_map(|(bins, arrivals, squares)| Counts {
        bins,
        arrivals,
        squares,
    })
}

prop_compose! {
    fn any_load()(
        seconds in prop_oneof![3 => 20.0..4000.0_f64, 1 => figure()],
        arrivals in count(),
        between in moments(),
        held in prop_oneof![
            3 => (1000_u64..1_000_000, 1e-3..1e3_f64, figure())
                .prop_map(|(count, sum, squares)| Moments { count, sum, squares }),
            1 => moments(),
        ],
        levels in prop::collection::vec(level(), 0..40),
        counts in prop::array::uniform3(counts()),
        blocks in prop::collection::vec(
            (figure(), count()).prop_map(|(seconds, arrivals)| Block { seconds, arrivals }),
            0..20,
        ),
    ) -> Load {
        Load { seconds, arrivals, between, held, levels, counts, blocks, ..Load::default() }
    }
}

fn sane(found: &Prediction) -> Result<(), TestCaseError> {
    let all = [
        found.utilization,
        found.served,
        found.queueing,
        found.mean,
        found.p50,
        found.p95,
        found.p99,
    ];
    prop_assert!(all.iter().all(|figure| *figure >= 0.0), "{:?}", found);
    prop_assert!(found.queueing <= 1.0, "{:?}", found);
    prop_assert!(
        found.p50 <= found.p95 && found.p95 <= found.p99,
        "{:?}",
        found
    );
    Ok(())
}

fn scenario() -> impl Strategy<Value = Scenario> {
    let arrivals = prop_oneof![
        Just(Arrivals::Poisson),
        (2_u32..8).prop_map(Arrivals::Batches),
        Just(Arrivals::OnOff),
        Just(Arrivals::Doubles),
        (2_u32..40).prop_map(Arrivals::Clients),
    ];
    let time = prop_oneof![
        (0.001..0.02_f64).prop_map(Time::Exponential),
        (0.001..0.02_f64).prop_map(Time::Steady),
        (0.001..0.02_f64).prop_map(Time::TenthSlow),
    ];
    let station = prop_oneof![
        3 => Just(Station::Apart),
        1 => Just(Station::Lock),
        1 => (1.0..6.0_f64).prop_map(Station::Shared),
    ];
    (arrivals, 60.0..300.0_f64, time.clone(), time, station).prop_map(
        |(arrivals, rate, outside, query, station)| Scenario {
            arrivals,
            rate,
            outside,
            query,
            station,
            seconds: 25.0,
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn any_figures_give_an_answer(load in any_load().boxed(), size in any::<u32>(), demand in figure()) {
        if let Ok(model) = Model::learn(&load) {
            sane(&model.at(size, demand))?;
            for size in [0, 1, 7, 200] {
                sane(&model.at(size, 1.0))?;
            }
            let _ = smallest(&model, demand, 1.0, size);
            let found = model.bottleneck();
            prop_assert!(found.most.is_none_or(|most| most > 0.0));
        }
    }

    #[test]
    // In boxes: two such trees are more than a test's stack holds.
    fn adding_data_never_panics(one in any_load().boxed(), other in any_load().boxed()) {
        let mut load = one;
        load.seconds += other.seconds;
        load.arrivals = load.arrivals.saturating_add(other.arrivals);
        load.blocks.extend(other.blocks);
        for (into, from) in load.levels.iter_mut().zip(other.levels) {
            into.seconds += from.seconds;
            into.completions = into.completions.saturating_add(from.completions);
        }
        if let Ok(model) = Model::learn(&load) {
            sane(&model.at(3, 1.0))?;
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn more_demand_never_waits_less_and_more_connections_never_more(
        scenario in scenario(),
        learned in 4_u32..30,
        seed in any::<u64>(),
    ) {
        let load = scenario.run(learned, seed).load;
        let Ok(model) = Model::learn(&load) else {
            // Too few came.
            return Ok(());
        };
        let is_open = !matches!(scenario.arrivals, Arrivals::Clients(_));
        prop_assert!(!(is_open && model.clients().is_some()), "{:?}", load.most);
        let not_more = |less: &Prediction, more: &Prediction| {
            let within = |a: f64, b: f64| a <= b * (1.0 + 1e-6) + 1e-9;
            within(less.mean, more.mean) && within(less.p95, more.p95) && within(less.p99, more.p99)
        };
        let most = 40.min(model.curve().peak());
        for size in 1..most {
            let (at, next) = (model.at(size, 1.0), model.at(size + 1, 1.0));
            prop_assert!(not_more(&next, &at), "{:?} {:?}", at, next);
            let busier = model.at(size, 1.05);
            prop_assert!(not_more(&at, &busier), "{:?} {:?}", at, busier);
        }
        // What is found by bisection is what is found by looking at each.
        let target = 0.005;
        let found = smallest(&model, target, 1.2, 40);
        let expected = (1..=most.min(40)).find(|size| model.at(*size, 1.2).p95 <= target);
        prop_assert_eq!(found, expected);
    }
}

#[test]
fn says_what_is_missing() {
    let held = |count| Moments {
        count,
        sum: count as f64 * 0.01,
        squares: count as f64 * 0.0002,
    };
    let load = Load {
        seconds: 12.5,
        held: held(400),
        ..Load::default()
    };
    assert_eq!(
        Model::learn(&load).unwrap_err(),
        NotEnough {
            seconds: 7.5,
            checkouts: 600
        }
    );
    let missing = Model::learn(&Load::default()).unwrap_err();
    assert_eq!((missing.seconds, missing.checkouts), (20.0, 1000));
}

#[test]
fn twenty_seconds_with_a_thousand_checkouts_are_enough() {
    let scenario = Scenario {
        arrivals: Arrivals::Poisson,
        rate: 55.0,
        outside: Time::Exponential(0.01),
        query: Time::Exponential(0.01),
        station: Station::Apart,
        seconds: 20.0,
    };
    let model = Model::learn(&scenario.run(4, 3).load).unwrap();
    let found = smallest(&model, 0.005, 1.2, 100);
    assert!(
        found.is_some_and(|size| (3..=5).contains(&size)),
        "{found:?}"
    );
}

/// Twelve who each wait for their answer before they ask again, all in step: the chain takes them for
/// bursts of a crowd, but no more than twelve have ever asked at once.
#[test]
fn what_was_never_in_use_at_once_is_not_needed() {
    let mut load = Load {
        seconds: 30.0,
        arrivals: 15_000,
        limit: Some(30),
        levels: vec![AtLevel::default(); 13],
        ..Load::default()
    };
    for _ in 0..15_000 {
        load.held.add(0.021);
        load.between.add(0.002);
    }
    load.levels[0].seconds = 6.0;
    load.levels[12] = AtLevel {
        seconds: 24.0,
        completions: 15_000,
        holds: 15_000,
        held: 315.0,
        ..AtLevel::default()
    };
    load.counts[0] = Counts {
        bins: 3000,
        arrivals: 15_000,
        squares: 180_000.0,
    };
    let model = Model::learn(&load).unwrap();
    assert!(model.at(11, 1.0).p95 > 0.0);
    for (size, times) in [(12, 1.0), (12, 0.5), (15, 1.25), (18, 1.5), (30, 2.5)] {
        assert_eq!(model.at(size, times).p99, 0.0, "{size} with {times}");
        assert_eq!(model.at(size, times).queueing, 0.0);
    }
    assert!(model.at(14, 1.25).p95 > 0.0);
    // Where no more were allowed, more may have been wanted.
    load.limit = Some(12);
    assert!(Model::learn(&load).unwrap().at(12, 1.0).p95 > 0.0);
}
