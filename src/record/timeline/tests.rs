use proptest::prelude::*;

use super::*;
use crate::record::clock::SECOND;
use crate::record::windows::Windows;

fn level(checked_out: u32) -> GaugeValues {
    GaugeValues {
        checked_out,
        ..GaugeValues::default()
    }
}

fn holding(busy: u64) -> AtWork {
    AtWork {
        busy: Some(busy),
        ..AtWork::default()
    }
}

/// A timeline whose connections are all in use.
fn timeline() -> Timeline {
    Timeline::new(Size::default())
}

impl Timeline {
    /// Ends a sample in which this many connections were in use all the time.
    fn end_with(&mut self, in_use: u32) {
        self.pass(1, level(in_use));
    }

    fn querying(&self) -> Vec<Option<f32>> {
        let samples = self.read(usize::MAX).samples;
        let work = samples.iter().map(Sample::work);
        work.map(|work| work.map(|work| work.querying)).collect()
    }
}

#[test]
fn a_sample_has_the_traffic_of_its_five_seconds() {
    let size = Size {
        pool_size: 3,
        max_connections: 5,
    };
    let mut windows = Windows::new(size);
    windows.set_level(SECOND, level(2));
    let slot = windows.at(2 * SECOND);
    slot.traffic.arrivals += 7;
    slot.traffic.timeouts += 1;
    slot.wait.record(std::time::Duration::from_millis(20));
    let larger = Size {
        pool_size: 4,
        ..size
    };
    windows.set_size(6 * SECOND, larger);
    windows.at(10 * SECOND);
    let read = windows.timeline.read(usize::MAX);
    assert_eq!((read.first, read.end), (0, 10 * SECOND));
    let [first, second] = read.samples[..] else {
        panic!("{read:?}");
    };
    assert_eq!((first.in_use, first.arrivals, first.timeouts), (1.6, 7, 1));
    assert_eq!((first.size, second.size), (size, larger));
    assert!((first.wait_p95().unwrap() - 0.02).abs() < 0.002);
    assert_eq!((second.in_use, second.wait_p95()), (2.0, None));
}

#[test]
fn a_time_without_events_has_its_samples() {
    let mut windows = Windows::new(Size::default());
    windows.set_level(7 * SECOND, level(2));
    // Far longer than the windows show.
    windows.at(1503 * SECOND);
    let read = windows.timeline.read(usize::MAX);
    assert_eq!((read.first, read.end), (0, 1500 * SECOND));
    assert_eq!(read.samples.len(), 300);
    let in_use: Vec<_> = read.samples.iter().map(|it| it.in_use).collect();
    assert_eq!(in_use[..2], [0.0, 1.2]);
    assert!(in_use[2..].iter().all(|it| *it == 2.0), "{in_use:?}");
    windows.at(9002 * SECOND);
    let read = windows.timeline.read(usize::MAX);
    assert_eq!((read.first, read.end), (1800 - KEPT, 9000 * SECOND));
    assert_eq!(read.samples.len(), KEPT as usize);
}

#[test]
fn an_idle_pool_stores_one_sample() {
    let mut idle = timeline();
    for minute in 1..90 {
        idle.pass(12, level(0));
        idle.settle(minute * MINUTE, holding(0));
    }
    assert_eq!(idle.read(usize::MAX).samples.len(), KEPT as usize);
    assert_eq!(idle.runs.len(), 1);
}

#[test]
fn a_full_hour_takes_little_memory() {
    assert_eq!(size_of::<(Sample, u16)>(), 40);
}

#[test]
fn the_work_of_returned_and_of_current_holds_is_that_of_the_sample() {
    let mut seen = timeline();
    seen.returned(Some(SECOND));
    seen.end_with(1);
    seen.settle(5 * SECOND, holding(2 * SECOND));
    // The holder is at work for 3 s more, and is returned.
    seen.returned(Some(5 * SECOND));
    seen.end_with(1);
    seen.settle(10 * SECOND, holding(0));
    assert_eq!(seen.querying(), [Some(0.6); 2]);
}

#[test]
fn work_that_is_known_late_is_spread_over_its_time() {
    let mut seen = timeline();
    // One holder works all the time, and nothing happens for 22 s.
    seen.pass(4, level(1));
    seen.settle(22 * SECOND, holding(22 * SECOND));
    assert_eq!(seen.querying(), [Some(1.0); 4]);
    seen.end_with(1);
    seen.settle(25 * SECOND, holding(25 * SECOND));
    assert_eq!(seen.querying(), [Some(1.0); 5]);
}

#[test]
fn what_was_not_observed_is_unknown() {
    let mut seen = timeline();
    seen.returned(None);
    seen.end_with(1);
    seen.settle(5 * SECOND, holding(0));
    seen.end_with(1);
    seen.settle(10 * SECOND, AtWork::default());
    seen.end_with(1);
    seen.settle(15 * SECOND, holding(0));
    assert_eq!(seen.querying(), [None, None, Some(0.0)]);
}

#[test]
fn the_idle_time_is_divided_as_its_holders_are() {
    let mut seen = timeline();
    seen.returned(Some(5 * SECOND));
    seen.end_with(9);
    let holders = AtWork {
        busy: Some(0),
        idle: 4,
        idle_in_transaction: 1,
    };
    seen.settle(5 * SECOND, holders);
    let work = seen.read(1).samples[0].work().unwrap();
    assert_eq!((work.querying, work.idle_in_transaction), (1.0, 2.0));
}

proptest! {
    #[test]
    fn no_work_is_lost_or_counted_twice(steps in prop::collection::vec((0..30 * SECOND, 0..9 * SECOND, 0..9 * SECOND), 1..60)) {
        let (mut seen, mut now, mut held, mut all) = (timeline(), 0, 0, 0);
        for (passed, work, returned) in steps {
            // Until the next event the holders work, and then some of them return.
            now += passed;
            held += work;
            all += work;
            let returned = returned.min(held);
            held -= returned;
            while seen.read(0).end + LENGTH <= now {
                // Enough in use that no sample has more work than it has time.
                seen.end_with(1000);
            }
            seen.returned(Some(returned));
            seen.settle(now, holding(held));
        }
        let known: f64 = seen.querying().into_iter().flatten().map(f64::from).sum();
        let since = seen.returned_busy.unwrap() + held - seen.held_busy;
        let whole = known * 5.0 + (seen.carried + since) as f64 / 1e9;
        let all = all as f64 / 1e9;
        prop_assert!((whole - all).abs() < 1e-4, "{whole} of {all}");
    }

    #[test]
    fn the_samples_are_the_last_that_ended(runs in prop::collection::vec((0_u32..3, 1_u64..300), 1..20), most in 0_usize..2000) {
        let (mut seen, mut model, mut now) = (timeline(), Vec::new(), 0);
        for (in_use, times) in runs {
            seen.pass(times, level(in_use));
            model.extend(std::iter::repeat_n(in_use as f32, times as usize));
            now += times * LENGTH;
            if in_use > 0 {
                seen.settle(now, holding(0));
            }
        }
        let expected = most.min(model.len()).min(KEPT as usize);
        let read = seen.read(most);
        let in_use: Vec<_> = read.samples.iter().map(|it| it.in_use).collect();
        prop_assert_eq!(&in_use[..], &model[model.len() - expected..]);
        prop_assert_eq!(read.first as usize + expected, model.len());
    }
}
