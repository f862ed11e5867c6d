//! Predictions against simulations of the same load at other sizes.
//!
//! Print the tables with `cargo test accuracy -- --nocapture`.

use super::loads::{Coming, Hold, Load, Time};
use crate::advice::model::simulator::Station;
use crate::advice::model::{Model, smallest};

/// The number of simulations that define the truth, each with other arrivals and holds.
const TRUTHS: u64 = 6;

/// The number of records to learn from.
const RECORDS: u64 = 2;

/// The relative error of shorter waits, in seconds, is not checked.
const SHORT: f64 = 0.002;

/// The target for the p95 wait, in seconds.
const TARGET: f64 = 0.005;

/// Prints and checks predictions from a record at one size against simulations. `within` limits the
/// median error of the p95, and is half as much again as the error that is reached.
#[track_caller]
fn check(name: &str, load: &Load, observed: u32, sizes: &[u32], within: f64) {
    let truths: Vec<(u32, f64)> = sizes
        .iter()
        .map(|size| (*size, load.truth(*size, TRUTHS)))
        .collect();
    let right = truths.iter().find(|it| it.1 <= TARGET).map(|it| it.0);
    let right = right.expect("one of the sizes meets the target");
    let mut errors = Vec::new();
    for seed in 0..RECORDS {
        let model = Model::learn(&load.run(observed, seed).trace).unwrap();
        let fit = &model.fit;
        println!(
            "{name}, observed at {observed}: {:?}, left {:.3}, {:?}",
            fit.station, fit.left, model.recorded.clients
        );
        for (size, truth) in &truths {
            let found = model.at(*size, 1.0);
            let error = found.p95 / truth - 1.0;
            println!(
                "  {size:>3}  p95 {:8.2} of {:8.2} ms  {:+.0} %",
                found.p95 * 1e3,
                truth * 1e3,
                error * 100.0,
            );
            if *truth > SHORT {
                errors.push(error.abs());
            } else {
                assert!(found.p95 < 3.0 * SHORT, "{name} {size}: {found:?}");
            }
        }
        let found = smallest(100, |size| model.at(size, 1.0).p95 <= TARGET);
        let found = found.unwrap_or_default();
        println!("  {found} in place of {right}");
        assert!(
            found.abs_diff(right) <= 1,
            "{name}: {found} in place of {right}"
        );
    }
    errors.sort_by(f64::total_cmp);
    let median = errors[errors.len() / 2];
    println!("  {name}: median error {:.1} %", median * 100.0);
    assert!(median <= within, "{name}: {median}");
}

const APPLICATION: Hold = Hold::new(Time::Exponential(0.02), Time::Exponential(0.005));

fn open(coming: Coming, hold: Hold, station: Station) -> Load {
    Load::new(coming, hold, station, 30.0)
}

#[test]
fn predictions_hold_for_an_application() {
    let steady = Hold::new(Time::Steady(0.02), Time::Steady(0.005));
    let slow = Hold::new(Time::Steady(0.002), Time::TenthSlow(0.023));
    let heavy = Hold::new(Time::Steady(0.002), Time::HeavyTailed(0.02, 1.5));
    let of = |hold| open(Coming::Poisson(200.0), hold, Station::Free);
    check("exponential", &of(APPLICATION), 10, &[6, 7, 8, 9, 10], 0.1);
    check("steady", &of(steady), 10, &[6, 7, 8, 9, 10], 0.08);
    check("a tenth slow", &of(slow), 10, &[6, 7, 8, 9, 10], 0.2);
    check("heavy tails", &of(heavy), 10, &[6, 7, 8, 9, 10], 0.5);
}

#[test]
fn predictions_hold_for_uneven_arrivals() {
    let of = |coming| open(coming, APPLICATION, Station::Free);
    check(
        "bursts",
        &of(Coming::Bursts(200.0)),
        12,
        &[8, 10, 12, 14, 16, 17],
        0.15,
    );
    check(
        "on and off",
        &of(Coming::OnOff(150.0)),
        12,
        &[8, 9, 10, 11, 12],
        0.1,
    );
    check(
        "doubling",
        &of(Coming::Doubling(200.0)),
        12,
        &[7, 8, 9, 10, 11],
        0.3,
    );
    check(
        "three a request",
        &of(Coming::Requests(200.0)),
        12,
        &[6, 7, 8, 9, 10],
        0.1,
    );
}

#[test]
fn predictions_hold_for_a_lock() {
    let hold = Hold::new(Time::Exponential(0.01), Time::Steady(0.003));
    let between = Hold {
        between: Some(Time::Steady(0.002)),
        ..Hold::new(Time::Exponential(0.01), Time::Steady(0.001))
    };
    let other = Hold {
        visits: false,
        ..Hold::new(Time::Exponential(0.01), Time::Exponential(0.003))
    };
    let of = |hold| open(Coming::Poisson(240.0), hold, Station::Lock);
    check("a lock", &of(hold), 12, &[5, 6, 7, 8], 0.15);
    check("a lock, few", &of(hold), 6, &[5, 6, 7, 8], 0.15);
    check(
        "held between queries",
        &of(between),
        12,
        &[5, 6, 7, 8],
        0.12,
    );
    let places = Load {
        holds: vec![hold, other],
        coming: Coming::Poisson(350.0),
        ..of(hold)
    };
    check("one of two places", &places, 14, &[6, 7, 8, 9, 10], 0.2);
}

#[test]
fn predictions_hold_for_shared_processors() {
    let hold = Hold::new(Time::Exponential(0.001), Time::Steady(0.0035));
    let load = open(Coming::Poisson(400.0), hold, Station::Shared(2.0));
    check("processors", &load, 12, &[2, 3, 4, 5, 6], 0.07);
    check("processors, few", &load, 4, &[2, 3, 4, 5, 6], 0.07);
}

#[test]
fn predictions_hold_for_closed_workloads() {
    let of = |clients, think| {
        Load::new(
            Coming::Clients(clients, think),
            APPLICATION,
            Station::Free,
            21.0,
        )
    };
    check("workers", &of(12, 0.0), 6, &[4, 8, 10, 11, 12], 0.05);
    check("who think", &of(12, 0.03), 5, &[3, 4, 5, 6, 7, 8], 0.05);
    // Counting more clients takes a longer record.
    let room = Load {
        seconds: 40.0,
        ..of(40, 0.1)
    };
    check(
        "with room for all",
        &room,
        20,
        &[6, 7, 8, 9, 10, 11, 12],
        0.2,
    );
    let load = Load {
        holds: vec![Hold::new(Time::Exponential(0.01), Time::Steady(0.003))],
        station: Station::Lock,
        ..of(20, 0.01)
    };
    check("at a lock", &load, 8, &[4, 8, 12, 16, 18, 19, 20], 0.05);
}
