//! Predictions against simulations of the same load at other sizes.

use super::simulation::{Arrivals, Scenario, Station, Time};
use crate::advise::Model;

fn scenario(name: &str) -> Scenario {
    let base = Scenario {
        arrivals: Arrivals::Poisson,
        rate: 500.0,
        outside: Time::Exponential(0.008),
        query: Time::Exponential(0.002),
        station: Station::Apart,
        seconds: 60.0,
    };
    match name {
        "exponential" => base,
        "steady" => Scenario {
            outside: Time::Steady(0.008),
            query: Time::Steady(0.002),
            ..base
        },
        "slow" => Scenario {
            outside: Time::Steady(0.001),
            query: Time::TenthSlow(0.009),
            ..base
        },
        "batches" => Scenario {
            arrivals: Arrivals::Batches(5),
            ..base
        },
        "batches-steady" => Scenario {
            arrivals: Arrivals::Batches(5),
            outside: Time::Steady(0.008),
            query: Time::Steady(0.002),
            ..base
        },
        "on-off" => Scenario {
            arrivals: Arrivals::OnOff,
            rate: 200.0,
            ..base
        },
        "doubles" => Scenario {
            arrivals: Arrivals::Doubles,
            ..base
        },
        "lock" => Scenario {
            outside: Time::Steady(0.004),
            query: Time::Steady(0.0015),
            station: Station::Lock,
            ..base
        },
        "lock-exp" => Scenario {
            outside: Time::Exponential(0.004),
            query: Time::Exponential(0.0015),
            station: Station::Lock,
            ..base
        },
        "shared" => Scenario {
            outside: Time::Exponential(0.001),
            query: Time::Steady(0.0035),
            station: Station::Shared(2.0),
            ..base
        },
        "shared-exp" => Scenario {
            outside: Time::Exponential(0.001),
            query: Time::Exponential(0.0035),
            station: Station::Shared(2.0),
            ..base
        },
        other => panic!("no scenario {other}"),
    }
}

/// The size learned at, and those predicted.
const CASES: [(&str, u32, &[u32]); 11] = [
    ("exponential", 8, &[6, 7, 8, 9, 10]),
    ("steady", 8, &[6, 7, 8]),
    ("slow", 8, &[6, 7, 8, 9, 10]),
    ("batches", 8, &[6, 7, 8, 10, 12]),
    ("batches-steady", 8, &[6, 7, 8, 10, 12]),
    ("on-off", 14, &[10, 11, 12, 14, 16]),
    ("doubles", 9, &[6, 7, 8, 9, 10]),
    ("lock", 10, &[4, 5, 6, 10]),
    ("lock-exp", 10, &[5, 6, 8, 10, 14]),
    ("shared", 6, &[3, 4, 5, 8, 12]),
    ("shared-exp", 6, &[3, 4, 5, 8, 12]),
];

#[test]
fn table() {
    for (name, learned, sizes) in CASES {
        let scenario = scenario(name);
        let seen = scenario.run(learned, 7);
        let model = Model::learn(&seen.load).unwrap();
        println!("{name}: {model:.4?}");
        for size in sizes {
            let found = model.at(*size, 1.0);
            let (mut measured, mut mean, mut waited) = (0.0, 0.0, 0.0);
            for seed in 100..110 {
                let truth = scenario.run(*size, seed);
                measured += truth.quantile(0.95) / 10.0;
                mean += truth.mean() / 10.0;
                waited += truth.waits.iter().filter(|w| **w > 0.0).count() as f64
                    / truth.waits.len() as f64
                    / 10.0;
            }
            println!(
                "  {size:>3}  p95 {:8.2} / {:8.2} ({:+.0} %)  mean {:8.2} / {:8.2}  queueing {:.3} / {:.3}  utilization {:.3}",
                found.p95 * 1e3,
                measured * 1e3,
                (found.p95 / measured - 1.0) * 100.0,
                found.mean * 1e3,
                mean * 1e3,
                found.queueing,
                waited,
                found.utilization,
            );
        }
    }
}

#[test]
fn estimators() {
    for (name, learned, _) in CASES {
        let scenario = scenario(name);
        let seen = scenario.run(learned, 7);
        println!("{name}");
        for n in 1..=learned {
            let at = seen.load.levels[n as usize];
            let full = Scenario {
                arrivals: Arrivals::Poisson,
                rate: 2500.0,
                seconds: 20.0,
                ..scenario
            }
            .run(n, 3)
            .load
            .levels[n as usize];
            println!(
                "  {n} curve {:.1} little {:.1} truth {:.1}  outside {:.5} inside {:.5} n {}",
                at.completions as f64 / at.seconds,
                f64::from(n) * at.holds as f64 / at.held,
                full.completions as f64 / full.seconds,
                (at.held - at.busy) / at.holds as f64,
                at.busy / at.holds as f64,
                at.completions,
            );
        }
    }
}
