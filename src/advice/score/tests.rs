use std::cell::RefCell;

use proptest::prelude::*;

use super::*;
use crate::advice::model::{Checkout, Model};

/// The checkouts of one minute.
#[derive(Debug, Clone, Copy)]
struct Made {
    connections: u16,
    arrivals: u32,
    /// Number of arrivals that got no connection.
    unserved: u32,
    /// Time queued by nine of ten of the others, in seconds; one of ten does not queue.
    queued: f64,
    /// Hold time, in seconds.
    held: f64,
}

fn minute(connections: u16, arrivals: u32, millis: u32) -> Made {
    Made {
        connections,
        arrivals,
        unserved: 0,
        queued: f64::from(millis) / 1e3,
        held: 0.001,
    }
}

/// Returns the complete record of these minutes.
fn record(minutes: &[Made]) -> Trace {
    let mut checkouts = Vec::new();
    for (number, made) in minutes.iter().enumerate() {
        let began = number as f64 * MINUTE;
        for n in 0..made.arrivals {
            let asked = began + MINUTE * f64::from(n) / f64::from(made.arrivals);
            let queued = if n % 10 > 0 { made.queued } else { 0.0 };
            let is_served = n >= made.unserved;
            let granted = if is_served {
                asked + queued
            } else {
                f64::INFINITY
            };
            checkouts.push(Checkout {
                asked,
                granted,
                returned: if is_served {
                    granted + made.held
                } else {
                    asked + 1.0
                },
                queries: None,
                request: 0,
                place: 0,
                size: made.connections,
            });
        }
    }
    let mut trace = Trace::default();
    trace.add(checkouts, 0.0, minutes.len() as f64 * MINUTE, 0.0);
    trace
}

/// Compares each minute after it has ended.
fn compare_minutes<M>(
    minutes: &[Made],
    learn: impl Fn(&Trace) -> Result<M, NotEnoughData>,
    at: impl Fn(&M, u32, f64) -> Prediction,
) -> Option<Accuracy> {
    let mut score = Score::default();
    for ended in 1..=minutes.len() {
        let trace = record(&minutes[..ended]);
        let compared = compare(&trace, ended as u64, &learn, &at);
        score.add(ended as u64, compared);
    }
    score.accuracy()
}

/// Learns from any record that has a completed checkout.
fn learn_always(before: &Trace) -> Result<(), NotEnoughData> {
    match before.completed() {
        0 => Err(NotEnoughData {
            seconds_more: 20.0,
            checkouts_more: 1000,
        }),
        _ => Ok(()),
    }
}

/// Returns the same prediction for every size.
fn all(connections: u32, p95: f64) -> Prediction {
    Prediction {
        connections,
        utilization: 0.5,
        served: 100.0,
        queueing: 0.5,
        mean: p95 / 3.0,
        p50: p95 / 3.0,
        p95,
        p99: p95,
        p95_range: (p95, p95),
        beyond_data: 0,
    }
}

fn accuracy_after(minutes: &[Made], p95: f64) -> Option<Accuracy> {
    compare_minutes(minutes, learn_always, |(), connections, _| {
        all(connections, p95)
    })
}

/// Returns the accuracy after a minute with 10 ms queued, preceded by an equal one.
fn of_ten(p95: f64) -> Accuracy {
    accuracy_after(&[minute(4, 1000, 10); 2], p95).unwrap()
}

#[test]
fn an_error_is_relative_to_the_measured_value() {
    assert_eq!(of_ten(0.0101).median_error_pct, 0.0, "less than 1 ms away");
    let long = of_ten(0.02);
    assert_eq!(
        (long.median_error_pct, long.bias_pct),
        (100.0, Some(100.0)),
        "{long:?}"
    );
    let short = of_ten(0.005);
    assert_eq!(
        (short.median_error_pct, short.bias_pct),
        (50.0, Some(-50.0)),
        "{short:?}"
    );
    assert_eq!(of_ten(5.0).median_error_pct, 1000.0);
    assert_eq!((short.compared, short.skipped, short.queueing), (1, 1, 1));
    assert_eq!(short.last.predicted_p95_ms, Some(5.0));
    assert_eq!(short.last.measured_p95_ms, Some(10.0));
    assert_eq!((short.last.connections, short.last.minutes_ago), (4, 0));
}

#[test]
fn the_record_is_scaled_to_the_arrivals_of_the_predicted_minute() {
    let minutes = [600, 600, 600, 600, 600, 600, 1500].map(|arrivals| minute(4, arrivals, 10));
    let asked = RefCell::new(Vec::new());
    let learn = |before: &Trace| learn_always(before).map(|()| before.seconds() / MINUTE);
    compare_minutes(&minutes, learn, |number, connections, demand| {
        let rounded = (demand * 1000.0).round() / 1000.0;
        asked.borrow_mut().push((*number, connections, rounded));
        all(connections, 0.01)
    });
    let asked = asked.into_inner();
    assert_eq!(asked[0], (1.0, 4, 1.0));
    assert_eq!(asked[4], (5.0, 4, 1.0));
    assert_eq!(asked[5], (5.0, 4, 2.5), "from at most five minutes");
    assert_eq!(asked.len(), 6, "each minute except the first");
}

#[test]
fn a_size_is_new_if_it_is_not_in_the_record() {
    let minutes = [4, 4, 8, 8, 4].map(|size| minute(size, 1000, 10));
    let accuracy = accuracy_after(&minutes, 0.01).unwrap();
    assert_eq!((accuracy.compared, accuracy.at_new_sizes), (4, 1));
    assert_eq!(accuracy.last.connections, 4);
}

#[test]
fn an_overload_that_was_predicted_is_not_an_error() {
    let usual = minute(4, 1000, 10);
    let error = |predicted, made: Made| {
        let accuracy = accuracy_after(&[usual, made], predicted).unwrap();
        assert_eq!(accuracy.queueing, 1);
        (accuracy.bias_pct.unwrap(), accuracy.last)
    };
    let turning_away = |unserved| Made { unserved, ..usual };
    let (bias, last) = error(f64::INFINITY, turning_away(51));
    assert_eq!(bias, 0.0);
    assert_eq!((last.predicted_p95_ms, last.measured_p95_ms), (None, None));
    assert_eq!(error(0.01, turning_away(51)).0, -100.0);
    let few = error(0.01, turning_away(50)).0;
    assert_eq!(few, 0.0, "its p95 is among the served");

    // A thousand checkouts share four connections for a minute.
    let in_use = |share: f64| Made {
        held: share * 4.0 * MINUTE / 1000.0,
        ..usual
    };
    assert_eq!(error(f64::INFINITY, in_use(0.98)).0, 0.0);
    assert!(
        error(f64::INFINITY, in_use(0.98))
            .1
            .measured_p95_ms
            .is_some()
    );
    assert_eq!(
        error(f64::INFINITY, in_use(0.9)).0,
        1000.0,
        "the pool was not fully loaded"
    );
}

#[test]
fn quiet_minutes_do_not_hide_minutes_with_a_queue() {
    let mut minutes = vec![minute(4, 1000, 0); 20];
    let idle = accuracy_after(&minutes, 0.0004).unwrap();
    assert_eq!((idle.compared, idle.queueing), (19, 0));
    assert_eq!(idle.median_error_pct, 0.0);
    assert_eq!(
        (idle.median_error_queueing_pct, idle.bias_pct),
        (None, None)
    );

    minutes.extend([minute(4, 1000, 10); 6]);
    let busy = accuracy_after(&minutes, 0.0004).unwrap();
    assert_eq!((busy.compared, busy.queueing), (25, 6));
    assert_eq!(busy.median_error_pct, 0.0);
    assert_eq!(busy.median_error_queueing_pct, Some(96.0), "{busy:?}");
    assert!(busy.verdict().unwrap().contains("mostly too short"));

    // Predicted waits that did not occur count too.
    let alarms = accuracy_after(&minutes[..20], 0.02).unwrap();
    assert_eq!((alarms.queueing, alarms.bias_pct), (19, Some(1000.0)));
}

#[test]
fn minutes_with_too_little_data_are_skipped_and_counted() {
    let usual = minute(4, 1000, 10);
    let silence = minute(4, 0, 0);
    let few = minute(4, 99, 10);
    // The first minute has no record before it; the last one does.
    let minutes = [usual, silence, few, usual];
    let accuracy = accuracy_after(&minutes, 0.01).unwrap();
    assert_eq!((accuracy.compared, accuracy.skipped), (1, 3));
    assert_eq!(accuracy_after(&minutes[..3], 0.01), None);
    assert_eq!(accuracy_after(&[], 0.01), None);
    // A record without checkouts predicts nothing.
    assert_eq!(accuracy_after(&[silence, usual], 0.01), None);
    assert_eq!(accuracy_after(&[usual, usual], f64::NAN), None);
    let nothing = |_: &Trace| {
        Err::<(), _>(NotEnoughData {
            seconds_more: 0.0,
            checkouts_more: 1,
        })
    };
    let never = compare_minutes(&[usual, usual], nothing, |(), n, _| all(n, 0.01));
    assert_eq!(never, None);
    // A pool of unknown size cannot be predicted.
    assert_eq!(accuracy_after(&[minute(0, 1000, 10); 2], 0.01), None);

    // The size changes within a minute.
    let trace = |other: u16| {
        let mut checkouts = record(&[usual, usual]).checkouts;
        checkouts[1500].size = other;
        let mut trace = Trace::default();
        trace.add(checkouts, 0.0, 2.0 * MINUTE, 0.0);
        trace
    };
    let of = |trace: &Trace| compare(trace, 2, learn_always, |(), n, _| all(n, 0.01));
    assert!(of(&trace(4)).is_some());
    assert!(of(&trace(5)).is_none());
}

#[test]
fn the_real_model_needs_as_much_data_as_the_advice() {
    let quiet = [minute(4, 400, 10); 4];
    let trace = record(&quiet);
    assert!(
        compare(&record(&quiet[..3]), 3, Model::learn, Model::at).is_none(),
        "800 before"
    );
    let compared = compare(&trace, 4, Model::learn, Model::at).expect("1200 before");
    // The model predicts no queue, because it does not know the cause of the recorded waits.
    assert!((compared.measured - 0.01).abs() < 1e-9, "{compared:?}");
    assert!(compared.predicted < 0.001, "{compared:?}");
}

#[test]
fn a_large_error_is_reported_after_enough_comparisons() {
    let of = |minutes: usize, p95| {
        let minutes = vec![minute(4, 1000, 10); minutes];
        accuracy_after(&minutes, p95).unwrap().verdict()
    };
    assert_eq!(of(5, 0.03), None, "four comparisons");
    let verdict = of(6, 0.03).unwrap();
    assert!(verdict.contains("in the 5 minutes"), "{verdict}");
    assert!(verdict.contains("mostly too long"), "{verdict}");
    assert_eq!(of(6, 0.014), None);
    assert!(of(6, 0.001).unwrap().contains("mostly too short"));
}

#[test]
fn an_error_without_bias_is_reported_without_direction() {
    let minutes = [10, 18, 10, 18, 10, 18, 10].map(|millis| minute(4, 1000, millis));
    // Predicts the wait of the previous minute: too long by four fifths, or too short by four ninths.
    let last = |before: &Trace| {
        learn_always(before)?;
        let end = before.runs.last().unwrap().until;
        Ok(queued_p95(&before.between(end - MINUTE, end).checkouts))
    };
    let accuracy = compare_minutes(&minutes, last, |last, connections, _| {
        all(connections, *last)
    });
    let verdict = accuracy.unwrap().verdict().unwrap();
    assert!(verdict.contains("(median). Change"), "{verdict}");
}

#[test]
fn the_median_is_the_middle() {
    assert_eq!(median(Vec::new()), None);
    assert_eq!(median(vec![3.0]), Some(3.0));
    assert_eq!(median(vec![9.0, 1.0, 2.0]), Some(2.0));
    assert_eq!(median(vec![4.0, 1.0, 2.0, 9.0]), Some(3.0));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn the_reported_numbers_are_finite_for_any_input(
        predicted in prop_oneof![any::<f64>(), 0.0..1.0],
        queued in prop_oneof![0.0..0.1, 0.0..1e9],
        held in prop_oneof![0.0..0.1, 0.0..1e9],
        arrivals in 0_u32..400,
        unserved in 0_u32..400,
        connections in prop_oneof![Just(0), 1_u16..9],
        number in 0_usize..8,
    ) {
        let minutes = vec![Made { connections, arrivals, unserved, queued, held }; number];
        if let Some(accuracy) = accuracy_after(&minutes, predicted) {
            prop_assert_eq!((accuracy.compared + accuracy.skipped) as usize, number);
            prop_assert!((0.0..=1000.0).contains(&accuracy.median_error_pct), "{:?}", accuracy);
            prop_assert!(accuracy.bias_pct.is_none_or(|bias| (-1000.0..=1000.0).contains(&bias)));
            prop_assert!(accuracy.last.measured_p95_ms.is_none_or(f64::is_finite));
        }
    }

    /// For any number of minutes between two reads, and any number of reads within a minute.
    #[test]
    fn each_minute_is_counted_once_and_forgotten_after_an_hour(
        looks in prop::collection::vec((0_u64..30, any::<bool>()), 1..40),
    ) {
        let compared = compare(&record(&[minute(4, 1000, 10); 2]), 2, learn_always, |(), n, _| all(n, 0.02));
        let (mut score, mut ended) = (Score::default(), 0);
        let mut kept: Vec<(u64, bool)> = Vec::new();
        for (passes, is_enough) in looks {
            ended += passes;
            for _ in 0..2 {
                score.add(ended, compared.filter(|_| is_enough));
            }
            if ended > kept.last().map_or(0, |last| last.0) {
                kept.push((ended, is_enough));
            }
            kept.retain(|(minute, _)| minute + 60 > ended);
            prop_assert_eq!(score.ended(), ended);
            let enough = kept.iter().filter(|look| look.1).count();
            let Some(accuracy) = score.accuracy() else {
                prop_assert_eq!(enough, 0);
                continue;
            };
            prop_assert_eq!(accuracy.compared as usize, enough);
            prop_assert_eq!(accuracy.skipped as usize, kept.len() - enough);
            let last = kept.iter().rev().find(|look| look.1).unwrap().0;
            prop_assert_eq!(u64::from(accuracy.last.minutes_ago), ended - last);
        }
    }
}
