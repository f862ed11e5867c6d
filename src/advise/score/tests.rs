use std::cell::RefCell;
use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::observe::load::AtLevel;

/// A minute in which so many came, and all but ten of a hundred queued for so long.
fn minute(connections: u32, arrivals: u64, queued: Duration) -> Load {
    let mut load = Load {
        seconds: 60.0,
        arrivals,
        limit: Some(connections),
        levels: vec![AtLevel::default(); connections as usize + 1],
        ..Load::default()
    };
    load.levels[0].seconds = 60.0;
    for n in 0..arrivals {
        let queues = n % 10 > 0;
        load.queued
            .record(if queues { queued } else { Duration::ZERO });
    }
    load
}

fn millis(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

/// As it is kept, each shared.
fn told_of<P>(minutes: &[Load], learn: impl Fn(&[Arc<Load>]) -> Option<P>) -> Option<Accuracy>
where
    P: Fn(u32, f64) -> Prediction,
{
    let minutes: Vec<_> = minutes.iter().cloned().map(Arc::new).collect();
    let mut score = Score::default();
    score.update_by(&minutes, minutes.len() as u64, learn);
    score.accuracy()
}

type Predictor = Box<dyn Fn(u32, f64) -> Prediction>;

/// Says the same of every size.
fn says(p95: f64) -> impl Fn(&[Arc<Load>]) -> Option<Predictor> {
    move |before| {
        let predictor = move |connections, _| Prediction {
            connections,
            utilization: 0.5,
            served: 100.0,
            queueing: 0.5,
            mean: p95 / 3.0,
            p50: p95 / 3.0,
            p95,
            p99: p95,
            beyond_data: 0,
        };
        (!before.is_empty()).then(|| Box::new(predictor) as Predictor)
    }
}

/// What is said of a minute in which they queued for 10 ms, after one like it.
fn of_ten(p95: f64) -> Accuracy {
    let minutes = [minute(4, 1000, millis(10)), minute(4, 1000, millis(10))];
    told_of(&minutes, says(p95)).unwrap()
}

/// The histogram reads a wait up to a sixteenth too long.
fn is_about(pct: f64, expected: f64) -> bool {
    (pct - expected).abs() < 8.0
}

#[test]
fn an_error_is_a_share_of_what_was_measured() {
    assert_eq!(of_ten(0.0101).median_error_pct, 0.0, "less than 1 ms away");
    let long = of_ten(0.02);
    assert!(is_about(long.median_error_pct, 100.0), "{long:?}");
    assert!(is_about(long.bias_pct.unwrap(), 100.0), "{long:?}");
    let short = of_ten(0.005);
    assert!(is_about(short.median_error_pct, 50.0), "{short:?}");
    assert!(is_about(short.bias_pct.unwrap(), -50.0), "{short:?}");
    assert_eq!(of_ten(5.0).median_error_pct, 1000.0);
    assert_eq!((short.compared, short.skipped, short.queueing), (1, 1, 1));
    assert_eq!(short.last.predicted_p95_ms, Some(5.0));
    assert_eq!((short.last.connections, short.last.minutes_ago), (4, 0));
}

#[test]
fn the_minutes_before_are_scaled_to_the_arrivals_of_the_one_predicted() {
    let minutes: Vec<Load> = [600, 600, 600, 600, 600, 600, 1500]
        .map(|arrivals| minute(4, arrivals, millis(10)))
        .into();
    let asked = RefCell::new(Vec::new());
    told_of(&minutes, |before| {
        let number = before.len();
        let answer = says(0.01)(before)?;
        let asked = &asked;
        Some(move |connections, demand| {
            asked.borrow_mut().push((number, connections, demand));
            answer(connections, demand)
        })
    });
    let asked = asked.into_inner();
    assert_eq!(asked[0], (1, 4, 1.0));
    assert_eq!(asked[4], (5, 4, 1.0));
    assert_eq!(asked[5], (5, 4, 2.5), "from no more than five");
    assert_eq!(asked.len(), 6, "each but the first");
}

#[test]
fn a_size_is_new_when_no_minute_before_had_it() {
    let sizes = [4, 4, 8, 8, 4];
    let minutes = sizes.map(|size| minute(size, 1000, millis(10)));
    let accuracy = told_of(&minutes, says(0.01)).unwrap();
    assert_eq!((accuracy.compared, accuracy.at_new_sizes), (4, 1));
    assert_eq!(accuracy.last.connections, 4);
}

#[test]
fn an_overload_that_was_predicted_is_no_error() {
    let usual = minute(4, 1000, millis(10));
    let error = |predicted, minute: &Load| {
        let minutes = [usual.clone(), minute.clone()];
        let accuracy = told_of(&minutes, says(predicted)).unwrap();
        assert_eq!(accuracy.queueing, 1);
        (accuracy.bias_pct.unwrap(), accuracy.last)
    };
    let mut turning_away = usual.clone();
    turning_away.unserved = 51;
    let (bias, last) = error(f64::INFINITY, &turning_away);
    assert_eq!(bias, 0.0);
    assert_eq!((last.predicted_p95_ms, last.measured_p95_ms), (None, None));
    assert_eq!(error(0.01, &turning_away).0, -100.0);
    turning_away.unserved = 50;
    assert_eq!(
        error(0.01, &turning_away).0,
        0.0,
        "its p95 is among the served"
    );

    let mut full = usual.clone();
    (full.levels[0].seconds, full.levels[4].seconds) = (1.0, 59.0);
    assert_eq!(error(f64::INFINITY, &full).0, 0.0);
    assert!(error(f64::INFINITY, &full).1.measured_p95_ms.is_some());
    (full.levels[3].seconds, full.levels[4].seconds) = (9.0, 50.0);
    assert_eq!(error(f64::INFINITY, &full).0, 1000.0, "one was often idle");
}

#[test]
fn quiet_minutes_do_not_drown_those_in_which_somebody_queues() {
    let mut minutes = vec![minute(4, 1000, Duration::ZERO); 20];
    let idle = told_of(&minutes, says(0.0004)).unwrap();
    assert_eq!((idle.compared, idle.queueing), (19, 0));
    assert_eq!(idle.median_error_pct, 0.0);
    assert_eq!(
        (idle.median_error_queueing_pct, idle.bias_pct),
        (None, None)
    );

    minutes.extend(vec![minute(4, 1000, millis(10)); 6]);
    let busy = told_of(&minutes, says(0.0004)).unwrap();
    assert_eq!((busy.compared, busy.queueing), (25, 6));
    assert_eq!(busy.median_error_pct, 0.0);
    let error = busy.median_error_queueing_pct.unwrap();
    assert!(is_about(error, 96.0), "{busy:?}");
    assert!(busy.verdict().unwrap().contains("mostly too short"));

    // Waits that were predicted and did not come count too.
    let alarms = told_of(&minutes[..20], says(0.02)).unwrap();
    assert_eq!((alarms.queueing, alarms.bias_pct), (19, Some(1000.0)));
}

#[test]
fn what_is_too_little_is_left_out_and_counted() {
    let usual = minute(4, 1000, millis(10));
    let mut resized = usual.clone();
    resized.limit = None;
    let minutes = [
        usual.clone(),
        minute(4, 99, millis(10)),
        Load::default(),
        resized,
        minute(0, 1000, millis(10)),
        usual.clone(),
    ];
    let accuracy = told_of(&minutes, says(0.01)).unwrap();
    assert_eq!((accuracy.compared, accuracy.skipped), (1, 5));

    assert_eq!(told_of(&minutes[..5], says(0.01)), None);
    assert_eq!(told_of(&[], says(0.01)), None);
    let two = [usual.clone(), usual.clone()];
    assert_eq!(told_of(&two, says(f64::NAN)), None);
    let nothing_learned = |_: &[Arc<Load>]| None::<fn(u32, f64) -> Prediction>;
    assert_eq!(told_of(&two, nothing_learned), None);
    let after_silence = [Load::default(), usual];
    assert_eq!(told_of(&after_silence, says(0.01)), None);
}

#[test]
fn a_large_error_is_told_when_it_is_more_than_an_accident() {
    let of = |minutes, p95| {
        let minutes = vec![minute(4, 1000, millis(10)); minutes];
        told_of(&minutes, says(p95)).unwrap().verdict()
    };
    assert_eq!(of(5, 0.03), None, "four comparisons");
    let told = of(6, 0.03).unwrap();
    assert!(told.contains("in the 5 minutes"), "{told}");
    assert!(told.contains("mostly too long"), "{told}");
    assert_eq!(of(6, 0.014), None);
    assert!(of(6, 0.001).unwrap().contains("mostly too short"));
}

#[test]
fn an_error_without_a_direction_is_told_without_one() {
    let minutes: Vec<Load> = [10, 18, 10, 18, 10, 18, 10]
        .map(|ms| minute(4, 1000, millis(ms)))
        .into();
    // As long as it was in the minute before: too long by four fifths, or too short by four ninths.
    let accuracy = told_of(&minutes, |before| {
        let last = before.last()?.queued.quantile(0.95)?;
        says(last.as_secs_f64())(before)
    });
    let told = accuracy.unwrap().verdict().unwrap();
    assert!(told.contains("(median). Change"), "{told}");
}

#[test]
fn the_median_is_the_middle() {
    assert_eq!(median(Vec::new()), None);
    assert_eq!(median(vec![3.0]), Some(3.0));
    assert_eq!(median(vec![9.0, 1.0, 2.0]), Some(2.0));
    assert_eq!(median(vec![4.0, 1.0, 2.0, 9.0]), Some(3.0));
}

proptest! {
    #[test]
    fn whatever_was_measured_and_predicted_the_figures_are_finite(
        predicted in prop_oneof![any::<f64>(), 0.0..1.0],
        seconds in prop_oneof![Just(60.0), any::<f64>()],
        arrivals in prop_oneof![0_u64..2000, Just(u64::MAX / 8)],
        unserved in 0_u64..2000,
        limit in prop::option::of(0_u32..300),
        queued in prop::collection::vec(0_u64..10_000_000, 0..50),
        number in 0_usize..8,
    ) {
        let mut load = Load { seconds, arrivals, unserved, limit, ..Load::default() };
        queued.iter().for_each(|&micros| load.queued.record(Duration::from_micros(micros)));
        let minutes = vec![load; number];
        if let Some(accuracy) = told_of(&minutes, says(predicted)) {
            prop_assert_eq!((accuracy.compared + accuracy.skipped) as usize, number);
            prop_assert!((0.0..=1000.0).contains(&accuracy.median_error_pct));
            prop_assert!(accuracy.bias_pct.is_none_or(|bias| (-1000.0..=1000.0).contains(&bias)));
            prop_assert!(accuracy.last.measured_p95_ms.is_none_or(f64::is_finite));
        }
    }
}

proptest! {
    /// However many minutes pass between two looks, as long as none is lost.
    #[test]
    fn each_minute_is_compared_once(looks in prop::collection::vec(0_usize..=50, 1..8)) {
        let all: Vec<_> = (0..looks.iter().sum::<usize>() as u64)
            .map(|n| Arc::new(minute(5, 100 + n % 3 * 50, millis(1 + n % 7))))
            .collect();
        let learned = RefCell::new(0);
        let learn = |before: &[Arc<Load>]| {
            *learned.borrow_mut() += 1;
            let p95 = 0.002 * before.len() as f64;
            says(p95)(before)
        };
        let of = |score: &mut Score, ended: usize| {
            let kept = &all[ended.saturating_sub(KEPT)..ended];
            score.update_by(kept, ended as u64, learn);
            score.accuracy()
        };
        let mut ended = 0;
        let mut often = Score::default();
        for looked in looks {
            ended += looked;
            let told = of(&mut often, ended);
            prop_assert_eq!(*learned.borrow(), ended.saturating_sub(1));
            prop_assert_eq!(told, of(&mut often, ended), "nothing is new");
        }
        let mut each_minute = Score::default();
        let last = (0..=ended).map(|ended| of(&mut each_minute, ended)).last();
        let told = often.accuracy();
        prop_assert_eq!(Some(told), last);
        if let Some(told) = told {
            prop_assert_eq!((told.compared + told.skipped) as usize, ended.min(KEPT));
        }
    }
}
