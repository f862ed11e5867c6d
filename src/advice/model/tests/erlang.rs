//! Compares the simulator with Erlang's C formula, and the model with both.

use super::loads::{Coming, Hold, Load, Time};
use crate::advice::model::Model;
use crate::advice::model::random::Random;
use crate::advice::model::simulator::{Arrival, Arrivals, Job, Passage, Pool, Station};

/// Returns the share that waits, by the recursion of Erlang's B formula.
fn erlang_c(size: u32, offered: f64) -> f64 {
    let mut blocked = 1.0;
    for n in 1..=size {
        blocked = offered * blocked / (f64::from(n) + offered * blocked);
    }
    let utilization = offered / f64::from(size);
    blocked / (1.0 - utilization * (1.0 - blocked))
}

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}

/// Simulates random arrivals at this rate, with exponentially distributed holds of one second on
/// average.
fn passages(size: u32, rate: f64, count: usize, seed: u64) -> Vec<Passage> {
    let mut random = Random::new(seed);
    let mut now = 0.0;
    let arrivals: Vec<Arrival> = (0..count)
        .map(|_| {
            now += random.exponential(1.0 / rate);
            Arrival::At(now)
        })
        .collect();
    let jobs: Vec<Job> = (0..count)
        .map(|_| Job {
            inside: random.exponential(1.0),
            ..Job::default()
        })
        .collect();
    let pool = Pool {
        connections: size,
        station: Station::Free,
        handover: 0.0,
    };
    pool.run(&jobs, Arrivals::Open(&arrivals))
}

/// The number of parts of a run. Each is much longer than the correlation time of the waits.
const PARTS: usize = 20;

#[test]
fn a_simulated_pool_waits_as_erlang_predicts() {
    for (size, utilization) in [(1, 0.5), (1, 0.8), (2, 0.7), (5, 0.6), (5, 0.85), (20, 0.9)] {
        let rate = utilization * f64::from(size);
        let all = passages(size, rate, 60_000, 11);
        let settled = &all[all.len() / 20..];
        let parts = settled.chunks(settled.len().div_ceil(PARTS));
        let each = |of: fn(&Passage) -> f64| -> Vec<f64> {
            let parts = parts.clone();
            parts
                .map(|part| mean(&part.iter().map(of).collect::<Vec<_>>()))
                .collect()
        };
        let queueing = erlang_c(size, rate);
        let spare = f64::from(size) - rate;
        for (what, found, expected) in [
            ("share", each(|it| f64::from(it.queued() > 0.0)), queueing),
            ("mean", each(Passage::queued), queueing / spare),
        ] {
            let middle = mean(&found);
            let squares = found.iter().map(|it| (it - middle) * (it - middle));
            let deviation = (squares.sum::<f64>() / (PARTS * (PARTS - 1)) as f64).sqrt();
            println!(
                "{size} {utilization} {what}: {middle:.4} of {expected:.4}, +- {deviation:.4}"
            );
            assert!(
                (middle - expected).abs() < 3.5 * deviation,
                "{size} {utilization} {what}: {middle} of {expected}, {deviation}"
            );
        }
    }
}

/// A client without think time and with its own connection is never idle.
#[test]
fn a_lock_and_processors_limit_the_throughput_of_clients() {
    let mut random = Random::new(5);
    let jobs: Vec<Job> = (0..20_000)
        .map(|_| Job {
            before: random.exponential(0.01),
            inside: random.exponential(0.005),
            after: random.exponential(0.01),
        })
        .collect();
    for (station, clients, expected) in [
        (Station::Free, 4, 4.0 / 0.025),
        (Station::Lock, 30, 1.0 / 0.005),
        (Station::Shared(2.0), 30, 2.0 / 0.005),
        (Station::Shared(2.5), 40, 2.5 / 0.005),
    ] {
        let pool = Pool {
            connections: clients,
            station,
            handover: 0.0,
        };
        let (think, seed) = (0.0, 1);
        let arrivals = Arrivals::Closed {
            clients,
            think,
            seed,
        };
        let all = pool.run(&jobs, arrivals);
        assert_eq!(all.len(), jobs.len());
        let half = all.len() / 2;
        let found = half as f64 / (all[all.len() - 1].asked - all[all.len() - 1 - half].asked);
        assert!(
            (found / expected - 1.0).abs() < 0.03,
            "{station:?}: {found} of {expected}"
        );
    }
}

#[test]
fn jobs_are_served_in_order_and_none_is_lost() {
    for station in [Station::Free, Station::Lock, Station::Shared(1.5)] {
        let mut random = Random::new(3);
        let job = |random: &mut Random| Job {
            before: random.exponential(0.2),
            inside: if random.uniform() < 0.2 {
                0.0
            } else {
                random.exponential(0.3)
            },
            after: random.exponential(0.1),
        };
        let jobs: Vec<Job> = (0..2000).map(|_| job(&mut random)).collect();
        let mut now = 0.0;
        let arrivals: Vec<Arrival> = (0..jobs.len())
            .map(|index| {
                now += random.exponential(0.4);
                match index % 5 {
                    0 => Arrival::At(now),
                    _ => Arrival::After(index - 1, 0.05),
                }
            })
            .collect();
        let pool = Pool {
            connections: 3,
            station,
            handover: 0.01,
        };
        let all = pool.run(&jobs, Arrivals::Open(&arrivals));
        assert_eq!(all.len(), jobs.len());
        assert!(all.is_sorted_by(|a, b| a.asked <= b.asked));
        let in_order = all.is_sorted_by(|a, b| a.granted <= b.granted + 0.01 + 1e-9);
        assert!(in_order, "{station:?}");
        let mut returned = vec![f64::INFINITY; jobs.len()];
        for it in &all {
            let job = jobs[it.job];
            let alone = job.before + job.inside + job.after;
            assert!(it.granted >= it.asked && it.returned >= it.granted + alone - 1e-9);
            returned[it.job] = it.returned;
        }
        for it in &all {
            if let Arrival::After(leader, gap) = arrivals[it.job] {
                assert!((it.asked - returned[leader] - gap).abs() < 1e-9);
            }
        }
        // At most as many as the pool has.
        let mut events: Vec<(f64, i32)> = all.iter().map(|it| (it.granted, 1)).collect();
        events.extend(all.iter().map(|it| (it.returned, -1)));
        events.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
        let levels = events.iter().scan(0, |level, event| {
            *level += event.1;
            Some(*level)
        });
        assert!(levels.max() <= Some(3));
    }
}

/// A model that is learned from one minute of Erlang's load predicts Erlang's waits.
#[test]
fn the_model_of_random_arrivals_and_holds_agrees_with_erlang() {
    let (rate, held) = (200.0, 0.03);
    let hold = Hold::new(Time::Exponential(held), Time::Steady(1e-6));
    let load = Load::new(Coming::Poisson(rate), hold, Station::Free, 60.0);
    let model = Model::learn(&load.run(10, 5).trace).unwrap();
    for size in [8, 9, 10] {
        let expected = erlang_c(size, rate * held);
        let found = model.at(size, 1.0).queueing;
        println!("{size}: {found:.3} of {expected:.3}");
        assert!(
            (found / expected - 1.0).abs() < 0.15,
            "{size}: {found} of {expected}"
        );
    }
}
