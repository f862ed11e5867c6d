use std::collections::HashMap;

use proptest::prelude::*;

use super::*;
use crate::advice::bottleneck::Bottleneck;
use crate::advice::model::Recorded;
use crate::advice::tests::erlang::Erlang;

/// 100 checkouts per second, held for 80 ms: eight connections on average.
const USUAL: Erlang = Erlang::new(100.0, 0.08);

fn case(erlang: &Erlang, now: (u32, u32)) -> Case<'_> {
    let demand = Demand {
        forecast: erlang,
        times: 1.2,
    };
    Case {
        peak: demand,
        usual: demand,
        target: 0.005,
        saturates_at: erlang.saturates.map(|(level, _)| level),
        share: None,
        known: None,
        is_served: false,
        now,
        overflows: true,
    }
}

/// Finds the smallest size by trying one after the other.
fn smallest(demand: Demand<'_>, target: f64) -> u32 {
    (1..1000)
        .find(|size| meets(&demand.at(*size), target))
        .unwrap()
}

#[test]
fn the_smallest_size_that_meets_the_target_is_found() {
    let case = case(&USUAL, (30, 60));
    let sizing = sizing(&case);
    let need = smallest(case.peak, case.target);
    // 9.6 connections are in use on average.
    assert!((13..=18).contains(&need), "{need}");
    assert_eq!((sizing.need, sizing.total()), (Some(need), need));
    assert_eq!(sizing.verdict, SizeChange::Shrink);
    assert!(!sizing.is_capped());
}

#[test]
fn the_usual_load_is_the_size_and_the_peak_is_the_overflow() {
    let usual = Demand {
        forecast: &USUAL,
        times: 0.3,
    };
    let case = Case {
        usual,
        ..case(&USUAL, (5, 0))
    };
    let sizing = sizing(&case);
    assert_eq!(sizing.pool_size, smallest(usual, case.target));
    assert_eq!(sizing.total(), smallest(case.peak, case.target));
    assert!(sizing.max_overflow > 0);
    assert_eq!(sizing.verdict, SizeChange::Grow);
    // Without a usual load one connection stays open; the usual size is at most the total.
    for (times, size) in [(0.0, 1), (f64::NAN, sizing.total()), (10.0, sizing.total())] {
        let usual = Demand { times, ..usual };
        assert_eq!(
            super::sizing(&Case { usual, ..case }).pool_size,
            size,
            "{times}"
        );
    }
    // Without an overflow setting, the total is the size.
    let fixed = Case {
        overflows: false,
        ..case
    };
    let fixed = super::sizing(&fixed);
    assert_eq!((fixed.pool_size, fixed.max_overflow), (sizing.total(), 0));
}

#[test]
fn a_size_close_to_the_best_is_kept() {
    let need = smallest(case(&USUAL, (0, 0)).peak, 0.005);
    let verdict = |now| sizing(&case(&USUAL, now)).verdict;
    for now in [(need, 0), (need + 1, 0), (need, 1), (need - 1, 1)] {
        assert_eq!(verdict(now), SizeChange::Fits, "{now:?}");
    }
    assert_eq!(
        verdict((need - 1, 0)),
        SizeChange::Grow,
        "the target is missed"
    );
    assert_eq!(verdict((need + 2, 0)), SizeChange::Shrink);
    assert_eq!(verdict((3, need - 3)), SizeChange::Split);
    assert_eq!(verdict((0, 0)), SizeChange::Grow);

    // A tenth of a large pool is more than one connection.
    let many = Erlang {
        arrivals: 1000.0,
        ..USUAL
    };
    let need = smallest(case(&many, (0, 0)).peak, 0.005);
    let verdict = |now| sizing(&case(&many, now)).verdict;
    assert_eq!(verdict((need + need / 10, 0)), SizeChange::Fits);
    assert_eq!(verdict((need + need / 10 + 1, 0)), SizeChange::Shrink);
}

#[test]
fn the_size_is_within_the_share_and_at_least_one() {
    for (share, total) in [(6, 6), (1, 1), (0, 1)] {
        let case = Case {
            share: Some(share),
            ..case(&USUAL, (30, 0))
        };
        let sizing = sizing(&case);
        assert_eq!(sizing.total(), total);
        assert_eq!(
            (sizing.verdict, sizing.is_capped()),
            (SizeChange::Shrink, true)
        );
    }
    // A size slightly above the share is too large.
    let need = smallest(case(&USUAL, (0, 0)).peak, 0.005);
    let case = Case {
        share: Some(need),
        ..case(&USUAL, (need + 1, 0))
    };
    assert_eq!(sizing(&case).verdict, SizeChange::Shrink);
    let case = Case {
        share: Some(6),
        ..self::case(&USUAL, (6, 0))
    };
    assert_eq!(
        sizing(&case).verdict,
        SizeChange::Stays,
        "there is nothing to set"
    );
}

/// Returns a prediction with the same value in all fields.
fn all(connections: u32, said: f64) -> Prediction {
    Prediction {
        connections,
        utilization: said,
        served: said,
        queueing: said,
        mean: said,
        p50: said,
        p95: said,
        p99: said,
        p95_range: (said, said),
        beyond_data: 0,
    }
}

/// Twenty clients that send the next request after each response: none waits long, but waiting lowers
/// the throughput.
#[derive(Debug)]
struct Workers;

impl Forecast for Workers {
    fn at(&self, connections: u32, _: f64) -> Prediction {
        let wait = f64::from(20_u32.saturating_sub(connections)) * 1e-4;
        Prediction {
            served: f64::from(connections.min(20)) * 1000.0,
            ..all(connections, wait)
        }
    }

    fn halved(&self, _: &[u16], _: u32, _: f64) -> Prediction {
        unreachable!("not used by the rules")
    }

    fn recorded(&self) -> Recorded {
        unreachable!("not used by the rules")
    }

    fn bottleneck(&self, _: &HashMap<u16, String>) -> Bottleneck {
        unreachable!("not used by the rules")
    }

    fn throughput(&self, _: u32) -> f64 {
        unreachable!("not used by the rules")
    }
}

#[test]
fn throughput_is_not_given_up_for_fewer_connections() {
    let demand = Demand {
        forecast: &Workers,
        times: 1.0,
    };
    let of = |now| {
        let sizing = sizing(&Case {
            peak: demand,
            usual: demand,
            ..case(&USUAL, now)
        });
        (sizing.total(), sizing.verdict)
    };
    assert_eq!(of((20, 0)), (19, SizeChange::Fits));
    assert_eq!(of((30, 10)), (19, SizeChange::Shrink));
    // No connection is added beyond the target.
    assert_eq!(of((4, 0)), (4, SizeChange::Fits));
}

#[test]
fn the_size_is_within_the_limit_of_the_settings() {
    let storm = Erlang {
        arrivals: 1e6,
        ..USUAL
    };
    let sizing = sizing(&case(&storm, (30, 60)));
    assert_eq!((sizing.need, sizing.total()), (None, 90));
    let case = case(&storm, (u32::MAX, u32::MAX));
    assert_eq!(super::sizing(&case).total(), Settings::MAX_CONNECTIONS);
}

#[test]
fn connections_that_serve_no_more_are_not_recommended() {
    let mut saturated = USUAL;
    // 120 arrive per second, and at most 100 are served.
    let at = |erlang: &Erlang, now| sizing(&case(erlang, now));
    for cost in [0.0, 0.02] {
        saturated.saturates = Some((8, cost));
        let sizing = at(&saturated, (20, 10));
        assert_eq!((sizing.need, sizing.total()), (None, 8));
        assert_eq!(sizing.verdict, SizeChange::Shrink);
        assert_eq!(at(&saturated, (8, 0)).verdict, SizeChange::Stays);
        assert_eq!(at(&saturated, (9, 0)).verdict, SizeChange::Stays, "close");
        let sizing = at(&saturated, (4, 0));
        assert_eq!(
            (sizing.total(), sizing.verdict),
            (8, SizeChange::Grow),
            "four more connections serve more"
        );
    }
    // A size that met the target when measured is kept despite the prediction.
    let does_well = Case {
        is_served: true,
        ..case(&saturated, (20, 10))
    };
    let sizing = sizing(&does_well);
    assert_eq!((sizing.total(), sizing.verdict), (30, SizeChange::Stays));
    // The target is met below the saturation level.
    let light = Erlang {
        arrivals: 20.0,
        ..saturated
    };
    let sizing = at(&light, (20, 10));
    assert_eq!(
        sizing.need,
        Some(smallest(case(&light, (0, 0)).peak, 0.005))
    );
    assert!(sizing.total() < 8);
}

#[test]
fn the_required_reduction_of_holds_is_exact() {
    let demand = case(&USUAL, (0, 0)).peak;
    let need = smallest(demand, 0.005);
    assert_eq!(shorter_holds(demand, need, 0.005), Some(0));
    let percent = shorter_holds(demand, need / 2, 0.005).unwrap();
    // It is enough, and one percent less is not.
    for (percent, enough) in [(percent, true), (percent - 1, false)] {
        let factor = 1.0 - f64::from(percent) / 100.0;
        let shorter = Erlang {
            held: USUAL.held * factor,
            ..USUAL
        };
        let demand = Demand {
            forecast: &shorter,
            ..demand
        };
        assert_eq!(meets(&demand.at(need / 2), 0.005), enough, "{percent}");
    }
    let storm = Erlang {
        arrivals: 1e6,
        ..USUAL
    };
    assert_eq!(shorter_holds(case(&storm, (0, 0)).peak, 3, 0.005), None);
}

#[test]
fn an_unexplained_load_changes_the_size_by_a_quarter_at_most() {
    let need = smallest(case(&USUAL, (0, 0)).peak, 0.005);
    let total = |connections, share| {
        let recorded = Recorded {
            connections,
            peak: connections,
            ..Recorded::default()
        };
        let case = Case {
            known: Some(recorded.near()),
            share,
            ..case(&USUAL, (connections, 0))
        };
        sizing(&case).total()
    };
    assert_eq!(total(8, None), 10);
    assert_eq!(total(2, None), 3, "by at least one");
    assert_eq!(total(40, None), 30);
    assert_eq!(total(need, None), need);
    assert_eq!(total(40, Some(12)), 12, "the server has no more");
}

#[test]
fn a_pool_that_was_never_full_may_shrink_to_what_was_in_use() {
    let near = |connections, peak| {
        let recorded = Recorded {
            connections,
            peak,
            ..Recorded::default()
        };
        recorded.near()
    };
    assert_eq!(near(30, 7), (7, 37));
    assert_eq!(near(30, 29), (23, 37));
    assert_eq!(near(30, 30), (23, 37));
    assert_eq!([near(1, 1), near(1, 0)], [(1, 2); 2]);
}

/// Returns arbitrary predictions.
#[derive(Debug)]
struct Nonsense([f64; 3]);

impl Forecast for Nonsense {
    fn at(&self, connections: u32, times: f64) -> Prediction {
        let said = self.0[connections as usize % 3] * times;
        all(connections, said)
    }

    fn halved(&self, _: &[u16], _: u32, _: f64) -> Prediction {
        unreachable!("not used by the rules")
    }

    fn recorded(&self) -> Recorded {
        unreachable!("not used by the rules")
    }

    fn bottleneck(&self, _: &HashMap<u16, String>) -> Bottleneck {
        unreachable!("not used by the rules")
    }

    fn throughput(&self, _: u32) -> f64 {
        unreachable!("not used by the rules")
    }
}

proptest! {
    #[test]
    fn no_prediction_breaks_a_rule(
        said: [f64; 3],
        times: f64,
        target: f64,
        saturates_at in prop::option::of(any::<u32>()),
        share in prop::option::of(any::<u32>()),
        connections in prop::option::of(1..u32::MAX),
        most: u32,
        now: (u32, u32),
        overflows: bool,
        is_served: bool,
    ) {
        let forecast = Nonsense(said);
        let peak = Demand { forecast: &forecast, times };
        let usual = Demand { forecast: &forecast, times: times / 2.0 };
        let known = connections.map(|connections| {
            let recorded = Recorded { connections, peak: most, ..Recorded::default() };
            recorded.near()
        });
        let case = Case { peak, usual, target, saturates_at, share, known, is_served, now, overflows };
        let sizing = sizing(&case);
        prop_assert!(sizing.pool_size >= 1);
        prop_assert!(sizing.total() <= Settings::MAX_CONNECTIONS);
        prop_assert!(sizing.total() <= share.unwrap_or(u32::MAX).max(1));
        let _ = shorter_holds(peak, sizing.total(), target);
    }
}
