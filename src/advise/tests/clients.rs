//! Clients who wait for their answers, told from those who do not.

use super::accuracy::{APPLICATION, STEADY};
use super::simulation::{Arrivals, Scenario};
use crate::advise::Model;
use crate::observe::load::Load;

const WORKERS: Scenario = Scenario {
    arrivals: Arrivals::Clients(20),
    rate: 10_000.0,
    ..APPLICATION
};

const CLOCKWORK: Scenario = Scenario {
    arrivals: WORKERS.arrivals,
    rate: WORKERS.rate,
    ..STEADY
};

const BROWSERS: Scenario = Scenario {
    arrivals: Arrivals::Clients(12),
    rate: 800.0,
    ..WORKERS
};

#[test]
fn what_so_many_clients_wait_for_is_predicted_at_other_sizes() {
    for (scenario, learned, sizes, most) in [
        (WORKERS, 10, [6, 8, 10, 14, 18], 0.1),
        // Too long, for how regular holds are is not considered.
        (CLOCKWORK, 10, [6, 8, 10, 14, 18], 0.4),
        (BROWSERS, 6, [3, 4, 5, 6, 8], 0.1),
    ] {
        let model = Model::learn(&scenario.run(learned, 7).load).unwrap();
        let Arrivals::Clients(number) = scenario.arrivals else {
            unreachable!();
        };
        assert_eq!(model.clients(), Some(number));
        for size in sizes {
            let simulated = scenario.run(size, 1).quantile(0.95);
            let found = model.at(size, 1.0);
            println!("{size}: {:.2} / {:.2} ms", found.p95 * 1e3, simulated * 1e3);
            let off = (found.p95 - simulated).abs();
            assert!(
                off < most * simulated + 0.0005,
                "{size}: {found:?}, {simulated}"
            );
            assert!(found.utilization < 1.0);
        }
        assert_eq!(model.at(number, 1.0).p95, 0.0);
        // Half as many again wait for longer.
        assert!(model.at(learned, 1.5).p95 > 1.2 * model.at(learned, 1.0).p95);
    }
}

#[test]
fn who_is_turned_away_is_not_taken_for_one_who_waits_for_an_answer() {
    let load = WORKERS.run(10, 7).load;
    let found = |load: &Load| Model::learn(load).unwrap().clients();
    assert_eq!(found(&load), Some(20));
    let shed = Load {
        unserved: 1,
        ..load.clone()
    };
    let resized = Load {
        limit: None,
        ..load.clone()
    };
    let unknown = Load { most: 0, ..load };
    assert_eq!([shed, resized, unknown].map(|load| found(&load)), [None; 3]);
}
