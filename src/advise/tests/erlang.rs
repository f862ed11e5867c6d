//! The chain against Erlang's C formula, computed another way.

use crate::advise::chain::{Phases, modulated, poisson};

/// The share that waits, by the recursion of Erlang's B formula.
fn erlang_c(size: u32, offered: f64) -> f64 {
    let mut blocked = 1.0;
    for n in 1..=size {
        blocked = offered * blocked / (f64::from(n) + offered * blocked);
    }
    let utilization = offered / f64::from(size);
    blocked / (1.0 - utilization * (1.0 - blocked))
}

#[test]
fn straight_rates_are_erlang_c() {
    for size in [1, 2, 3, 7, 10, 33, 100, 250, 500] {
        for utilization in [0.05, 0.3, 0.6, 0.8, 0.9, 0.97, 0.999] {
            let each = 83.0;
            let rate = utilization * each * f64::from(size);
            let tail =
                poisson(rate, size, f64::from(size) * each, |n| f64::from(n) * each).unwrap();
            let expected = erlang_c(size, rate / each);
            let found = tail.queueing();
            assert!(
                (found - expected).abs() < 1e-9,
                "{size} {utilization}: {found} {expected}"
            );
            let spare = f64::from(size) * each - rate;
            assert!((tail.parts[0].1 / spare - 1.0).abs() < 1e-9);
        }
    }
}

#[test]
fn bursts_that_hardly_differ_are_poisson() {
    for size in [1, 5, 40, 500] {
        let rate = 0.9 * f64::from(size);
        let arrivals = Phases {
            rates: [rate * (1.0 - 1e-5), rate * (1.0 + 1e-5)],
            left: [3.0, 3.0],
        };
        let bursty = modulated(&arrivals, size, f64::from(size), f64::from).unwrap();
        let plain = poisson(rate, size, f64::from(size), f64::from).unwrap();
        let mean = |tail: &crate::advise::chain::Tail| -> f64 {
            tail.parts.iter().map(|(share, rate)| share / rate).sum()
        };
        assert!(
            (bursty.queueing() - plain.queueing()).abs() < 1e-6,
            "{size}"
        );
        assert!((mean(&bursty) / mean(&plain) - 1.0).abs() < 1e-6, "{size}");
    }
}

#[test]
fn slow_bursts_are_a_mixture_and_overload_is_none() {
    // Rates that hardly ever change: each has its own steady queue, weighted by its arrivals.
    let arrivals = Phases {
        rates: [2.0, 8.0],
        left: [1e-7, 1e-7],
    };
    let found = modulated(&arrivals, 10, 10.0, f64::from)
        .unwrap()
        .queueing();
    let expected = 0.2 * erlang_c(10, 2.0) + 0.8 * erlang_c(10, 8.0);
    assert!((found - expected).abs() < 1e-4, "{found} {expected}");
    assert_eq!(poisson(10.0, 10, 10.0, f64::from), None);
    assert_eq!(poisson(10.5, 10, 10.0, f64::from), None);
}
