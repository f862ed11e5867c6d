//! Predictions against simulations of the same load at other sizes.
//!
//! The tables are printed: `cargo test accuracy -- --nocapture`.

use super::simulation::{Arrivals, Scenario, Station, Time};
use super::size::smallest;
use crate::advise::{Cause, Model};

/// Simulations that stand for the truth, each of other arrivals.
const TRUTHS: u64 = 4;

/// Waits this short, in seconds, are not judged by their relative error.
const SHORT: f64 = 0.002;

pub(super) const APPLICATION: Scenario = Scenario {
    arrivals: Arrivals::Poisson,
    rate: 500.0,
    outside: Time::Exponential(0.008),
    query: Time::Exponential(0.002),
    station: Station::Apart,
    seconds: 60.0,
};

pub(super) const STEADY: Scenario = Scenario {
    outside: Time::Steady(0.008),
    query: Time::Steady(0.002),
    ..APPLICATION
};

const LOCK: Scenario = Scenario {
    outside: Time::Exponential(0.01),
    query: Time::Steady(0.003),
    station: Station::Lock,
    rate: 250.0,
    ..APPLICATION
};

const CHANCE_LOCK: Scenario = Scenario {
    outside: Time::Exponential(0.004),
    query: Time::Exponential(0.0015),
    rate: 500.0,
    ..LOCK
};

const SERVER: Scenario = Scenario {
    outside: Time::Exponential(0.001),
    query: Time::Steady(0.0035),
    station: Station::Shared(2.0),
    ..APPLICATION
};

/// Learns at one size, prints what is predicted at others beside what is simulated, and gives the
/// errors of the predicted p95, as shares of it.
fn errors(name: &str, scenario: &Scenario, learned: u32, sizes: &[u32]) -> Vec<f64> {
    let model = Model::learn(&scenario.run(learned, 7).load).unwrap();
    let mut errors = Vec::new();
    println!("{name}, learned at {learned}: p95 in ms, predicted / simulated");
    for size in sizes {
        let found = model.at(*size, 1.0);
        let p95 = truth(scenario, *size);
        let error = found.p95 / p95 - 1.0;
        println!(
            "  {size:>3}  {:9.2} / {:9.2}  {:+.0} %  at {:.0} % of what can be served",
            found.p95 * 1e3,
            p95 * 1e3,
            error * 100.0,
            found.utilization * 100.0
        );
        if p95 > SHORT {
            errors.push(error.abs());
        } else {
            assert!(found.p95 < 3.0 * SHORT, "{name} {size}: {found:?}");
        }
    }
    errors
}

/// The p95 that is simulated, on average.
fn truth(scenario: &Scenario, size: u32) -> f64 {
    let truths = 100..100 + TRUTHS;
    let all = truths.map(|seed| scenario.run(size, seed).quantile(0.95));
    all.sum::<f64>() / TRUTHS as f64
}

fn median(mut errors: Vec<f64>) -> f64 {
    errors.sort_by(f64::total_cmp);
    errors[errors.len() / 2]
}

#[test]
fn accuracy_of_an_application() {
    let slow = Scenario {
        outside: Time::Steady(0.001),
        query: Time::TenthSlow(0.009),
        ..APPLICATION
    };
    let sizes = &[6, 7, 8, 9, 10];
    assert!(median(errors("exponential", &APPLICATION, 8, sizes)) < 0.2);
    assert!(median(errors("steady", &STEADY, 8, sizes)) < 0.25);
    assert!(median(errors("a tenth slow", &slow, 8, sizes)) < 0.2);
}

#[test]
fn accuracy_of_uneven_arrivals() {
    let batches = Scenario {
        arrivals: Arrivals::Batches(5),
        ..APPLICATION
    };
    let steady_batches = Scenario {
        arrivals: Arrivals::Batches(5),
        ..STEADY
    };
    let on_off = Scenario {
        arrivals: Arrivals::OnOff,
        rate: 200.0,
        ..APPLICATION
    };
    let doubles = Scenario {
        arrivals: Arrivals::Doubles,
        ..APPLICATION
    };
    assert!(median(errors("batches", &batches, 8, &[6, 7, 8, 10, 12])) < 0.2);
    assert!(
        median(errors(
            "batches, steady",
            &steady_batches,
            8,
            &[6, 7, 8, 10, 12]
        )) < 0.25
    );
    assert!(
        median(errors(
            "a second in five",
            &on_off,
            14,
            &[10, 11, 12, 14, 16]
        )) < 0.4
    );
    assert!(median(errors("twice as many", &doubles, 9, &[6, 7, 8, 9, 10])) < 0.2);
}

#[test]
fn accuracy_of_what_saturates() {
    let chance_server = Scenario {
        query: Time::Exponential(0.0035),
        ..SERVER
    };
    let steady_lock = Scenario {
        outside: Time::Steady(0.004),
        ..CHANCE_LOCK
    };
    let of = |name, scenario, learned, sizes| median(errors(name, scenario, learned, sizes));
    assert!(of("lock", &LOCK, 12, &[4, 5, 6, 7, 8]) < 0.2);
    assert!(of("lock, few", &LOCK, 6, &[5, 6, 7, 8, 12]) < 0.4);
    assert!(of("lock, chance", &CHANCE_LOCK, 10, &[5, 6, 8, 10, 14]) < 0.2);
    assert!(of("lock, steady outside", &steady_lock, 10, &[4, 5, 6, 10]) < 0.4);
    assert!(of("server", &SERVER, 6, &[3, 4, 5, 8, 12]) < 0.15);
    assert!(of("server, many", &SERVER, 12, &[3, 4, 5, 6, 8, 12]) < 0.15);
    assert!(of("server, chance", &chance_server, 6, &[3, 4, 5, 8, 12]) < 0.2);
}

/// With so many that somebody always waits, every connection is in use all the time.
fn served_when_full(scenario: &Scenario, size: u32) -> f64 {
    let crowded = Scenario {
        rate: scenario.rate * 10.0,
        seconds: 20.0,
        ..*scenario
    };
    let load = crowded.run(size, 5).load;
    load.held.count as f64 / load.seconds
}

/// What is seen to come back from a level of a lock that is always held for as long differs from
/// this by a fourth.
#[test]
fn the_rate_at_a_level_is_what_a_full_pool_of_that_size_serves() {
    for (name, scenario) in [("lock", LOCK), ("chance", CHANCE_LOCK), ("server", SERVER)] {
        for learned in [12, 8] {
            let model = Model::learn(&scenario.run(learned, 7).load).unwrap();
            for level in 3..=learned {
                let found = model.curve().rate(level);
                let expected = served_when_full(&scenario, level);
                assert!(
                    (found / expected - 1.0).abs() < 0.06,
                    "{name}, learned at {learned}, {level}: {found} {expected}"
                );
            }
        }
    }
}

#[test]
fn what_takes_turns_is_told_from_what_is_shared_and_how_regular_it_is() {
    let found = |scenario: Scenario| {
        let model = Model::learn(&scenario.run(12, 7).load).unwrap();
        let found = model.bottleneck();
        (found.variation.unwrap(), found.turns.unwrap())
    };
    let (variation, turns) = found(LOCK);
    assert!(variation < 0.1 && turns > 0.6, "{variation} {turns}");
    let (variation, turns) = found(SERVER);
    assert!(variation < 0.3 && turns < 0.2, "{variation} {turns}");
    let (variation, _) = found(CHANCE_LOCK);
    assert!((0.6..1.3).contains(&variation), "{variation}");
}

#[test]
fn tells_what_saturates_from_a_slow_application() {
    for slow in [APPLICATION, STEADY] {
        let found = Model::learn(&slow.run(8, 7).load).unwrap().bottleneck();
        assert_eq!((found.cause, found.level), (None, None));
    }
    // Next to nothing outside of queries: that it is twice as much with more in use is no cause.
    let queries_only = Scenario {
        outside: Time::Exponential(0.000_01),
        ..SERVER
    };
    for (saturated, level) in [(LOCK, 4..=8), (SERVER, 2..=5), (queries_only, 2..=5)] {
        let found = Model::learn(&saturated.run(12, 7).load)
            .unwrap()
            .bottleneck();
        assert_eq!(found.cause, Some(Cause::Queries));
        assert!(level.contains(&found.level.unwrap()), "{found:?}");
        let parts = |level: f64| {
            let mut holds = found.holds.iter();
            holds.find(|at| at.level == level).unwrap().parts.unwrap()
        };
        let (low, high) = (parts(3.0), parts(9.0));
        assert!(high.0 > 1.5 * low.0, "{found:?}");
        assert!(high.1 < low.1 + 0.1 * low.0, "{found:?}");
        assert_eq!(found.peak, None);
    }
    // What no size can serve is not recommended any size for.
    let model = Model::learn(&LOCK.run(12, 7).load).unwrap();
    assert_eq!(smallest(&model, 0.005, 1.5, 1000), None);
}

#[test]
fn the_size_is_that_of_the_simulation_or_its_neighbour() {
    let target = 0.005;
    // Busier, and a connection more shortens the wait by less than a minute's data can tell.
    let server = Scenario {
        rate: 430.0,
        ..SERVER
    };
    for (scenario, learned) in [(APPLICATION, 8), (STEADY, 8), (LOCK, 12), (server, 12)] {
        let model = Model::learn(&scenario.run(learned, 7).load).unwrap();
        let found = smallest(&model, target, 1.0, 60).unwrap();
        let expected = (1..60)
            .find(|size| truth(&scenario, *size) <= target)
            .unwrap();
        assert!(
            found.abs_diff(expected) <= 1,
            "{found} {expected} {scenario:?}"
        );
    }
}
