//! The record by a clock that the test moves.

use super::*;

const MS: Duration = Duration::from_millis(1);
const MIN: Duration = Duration::from_secs(60);
const DAY: Duration = Duration::from_secs(24 * 3600);

/// A pool of ten whose checkouts are told by hand.
struct ByHand {
    record: Occupancy,
    now: Duration,
    /// Since when, and what the record had said.
    held: VecDeque<(Duration, Began)>,
    limit: u32,
}

impl ByHand {
    fn new() -> Self {
        Self {
            record: Occupancy::new(10),
            now: Duration::ZERO,
            held: VecDeque::new(),
            limit: 10,
        }
    }

    fn pass(&mut self, time: Duration) -> &mut Self {
        self.now += time;
        self
    }

    fn advance(&mut self) {
        self.record.advance(nanos(self.now), || self.limit);
    }

    fn take(&mut self) -> &mut Self {
        self.advance();
        self.record.arrived(Duration::ZERO);
        let before = self.record.granted(Duration::ZERO);
        self.held.push_back((self.now, before));
        self.record.set_level(self.held.len() as u32, 0);
        self
    }

    fn give_back(&mut self, busy: Option<Duration>) -> &mut Self {
        self.advance();
        let (since, began) = self.held.pop_front().expect("one is held");
        self.record.returned(Hold {
            held: self.now - since,
            busy,
            began,
        });
        self.record.set_level(self.held.len() as u32, 0);
        self
    }

    /// So many checkouts a second for five minutes, each of 100 ms.
    fn five_minutes_of(&mut self, each_second: u32) {
        for _ in 0..5 * 60 {
            for _ in 0..each_second {
                self.take();
            }
            self.pass(100 * MS);
            for _ in 0..each_second {
                self.give_back(None);
            }
            self.pass(900 * MS);
        }
    }

    fn read(&mut self) -> Reading {
        self.advance();
        self.record.read()
    }
}

fn close(a: f64, b: f64) -> bool {
    (a - b).abs() < 1e-9
}

#[test]
fn time_and_completions_belong_to_the_level_before_and_a_hold_to_its_mean() {
    let mut pool = ByHand::new();
    pool.pass(100 * MS).take();
    pool.pass(50 * MS).take();
    // Two for 50 ms, one for 50 ms: the mean of the first hold is 1.5, which is nearer to 2 than to 1
    // by nothing, and rounded up.
    pool.pass(50 * MS).give_back(Some(30 * MS));
    pool.pass(150 * MS).give_back(None);
    let load = pool.pass(50 * MS).read().loads().minute;
    let seconds: Vec<_> = load.levels.iter().map(|at| at.seconds).collect();
    assert!(close(seconds[0], 0.15), "{seconds:?}");
    assert!(close(seconds[1], 0.2), "{seconds:?}");
    assert!(close(seconds[2], 0.05), "{seconds:?}");
    let completions: Vec<_> = load.levels.iter().map(|at| at.completions).collect();
    assert_eq!(completions, [0, 1, 1]);
    let [_, one, two] = load.levels[..] else {
        panic!("{:?}", load.levels)
    };
    // The second was held for 200 ms, of which 50 with the other.
    assert_eq!((one.holds, two.holds), (1, 1));
    assert!(close(one.held, 0.2) && close(two.held, 0.1));
    assert_eq!((one.measured, one.busy), (0.0, 0.0));
    assert!(close(two.measured, 0.1) && close(two.busy, 0.03));
    assert!(close(load.used(), 0.3) && close(load.seconds, 0.4));
    assert_eq!((load.arrivals, load.held.count), (2, 2));
    assert_eq!((load.between.count, load.between.mean()), (1, Some(0.05)));
    assert_eq!(
        (load.queued.count(), load.queued.quantile(1.0)),
        (2, Some(Duration::ZERO))
    );
    assert_eq!(load.limit, Some(10));
}

#[test]
fn a_run_of_check_ins_belongs_to_the_fewest_in_use() {
    let mut pool = ByHand::new();
    for _ in 0..4 {
        pool.take();
    }
    // Four in use for 10 ms, three for none, and so on: two runs, from the beginning on.
    for _ in 0..2 * Load::RUN {
        pool.pass(10 * MS).give_back(None).take();
    }
    // From three, one less each time; the third run ends with an empty pool.
    for _ in 0..Load::RUN - 4 {
        pool.pass(10 * MS).give_back(None).take();
    }
    for _ in 0..4 {
        pool.pass(10 * MS).give_back(None);
    }
    let load = pool.pass(MS).read().loads().minute;
    let runs = load.levels.iter().map(|at| at.runs.count);
    assert_eq!(runs.collect::<Vec<_>>(), [1, 1, 0, 1, 0]);
    let at = |level: usize| load.levels[level];
    assert!(close(at(3).runs.sum, 0.16) && close(at(3).run_used, 0.64));
    assert!(close(at(1).run_used, 0.01 * (13 * 4 + 3 + 2 + 1) as f64));
}

#[test]
fn a_clock_that_stands_still_or_steps_back_spoils_nothing() {
    let mut pool = ByHand::new();
    for _ in 0..3 {
        pool.take();
    }
    pool.give_back(Some(MS));
    let load = pool.read().loads().minute;
    assert_eq!((load.seconds, load.used()), (0.0, 0.0));
    assert_eq!((load.arrivals, load.between.mean()), (3, Some(0.0)));
    assert_eq!(load.between.squared_variation(), None);
    let three = load.levels[3];
    assert_eq!((three.completions, three.holds), (1, 1));
    assert_eq!((three.held, three.busy), (0.0, 0.0), "no busier than held");
    pool.pass(10 * MS).take();
    pool.now -= 5 * MS;
    pool.take().give_back(None);
    let load = pool.pass(5 * MS).read().loads().minute;
    assert!(close(load.seconds, 0.01) && close(load.used(), 0.02));
    assert!(load.between.sum <= 0.01 + 1e-9);
}

#[test]
fn arrivals_are_counted_in_whole_bins_and_blocks_tell_their_length() {
    let mut pool = ByHand::new();
    // Three in the first 10 ms, one in the same 100 ms, two in the same second, and one later.
    for at in [0, 1, 9, 95, 500, 999, 6_001] {
        let start = pool.now;
        pool.pass(at * MS).take();
        pool.now = start;
    }
    pool.pass(7_005 * MS);
    let load = pool.read().loads().minute;
    let [ten, hundred, second] = load.counts;
    assert_eq!((ten.bins, ten.arrivals, ten.squares), (700, 7, 9.0 + 4.0));
    assert_eq!(
        (hundred.bins, hundred.arrivals, hundred.squares),
        (70, 7, 16.0 + 3.0)
    );
    assert_eq!(
        (second.bins, second.arrivals, second.squares),
        (7, 7, 36.0 + 1.0)
    );
    let blocks: Vec<_> = load
        .blocks
        .iter()
        .map(|it| (it.seconds, it.arrivals))
        .collect();
    assert_eq!(blocks, [(5.0, 6), (2.005, 1)]);
}

#[test]
fn one_that_is_told_late_came_when_it_asked_and_counts_where_the_bins_are() {
    let mut pool = ByHand::new();
    let mut told = |at: u32, ago: u32| {
        let start = pool.now;
        pool.pass(at * MS).advance();
        pool.record.arrived(ago * MS);
        pool.now = start;
    };
    told(25, 0);
    // Asked 6 ms before the one who was told first, and after it: neither makes a step back.
    told(31, 12);
    told(45, 5);
    pool.pass(100 * MS);
    let load = pool.read().loads().minute;
    assert_eq!((load.between.count, load.arrivals), (2, 3));
    assert!(close(load.between.sum, 0.015) && close(load.between.squares, 0.015 * 0.015));
    assert_eq!(
        (load.counts[0].arrivals, load.counts[0].squares),
        (3, 4.0 + 1.0)
    );
}

#[test]
fn a_hold_has_seen_no_more_than_were_in_use_whatever_its_own_clock_says() {
    let mut pool = ByHand::new();
    pool.take();
    // Another thread has brought the record on by ten times as much as this one's hold took.
    pool.pass(10 * MS).advance();
    pool.now = MS;
    pool.give_back(None);
    let load = pool.read().loads().minute;
    let holds: Vec<_> = load.levels.iter().map(|at| at.holds).collect();
    assert_eq!(holds, [0, 1]);
    assert!(close(load.levels[1].held, 0.001));
}

#[test]
fn the_limit_is_told_only_if_it_was_the_same_throughout() {
    let mut pool = ByHand::new();
    pool.pass(90 * MIN / 60).take();
    pool.limit = 12;
    pool.advance();
    pool.record.limit_is(12);
    let loads = pool.pass(MIN).read().loads();
    assert_eq!((loads.minute.limit, loads.hour.limit), (None, None));
    let loads = pool.pass(MIN).read().loads();
    assert_eq!((loads.minute.limit, loads.hour.limit), (Some(12), None));
    // Not told: of no minute of the silence it is known.
    pool.limit = 13;
    let loads = pool.pass(3 * MIN).read().loads();
    assert_eq!((loads.minute.limit, loads.five_minutes.limit), (None, None));
    let loads = pool.pass(2 * MIN).read().loads();
    assert_eq!(loads.minute.limit, Some(13));
}

#[test]
fn a_day_of_silence_leaves_minutes_that_only_last() {
    let mut pool = ByHand::new();
    pool.take().take();
    pool.pass(DAY);
    let reading = pool.read();
    assert_eq!(reading.minutes.len(), MINUTES);
    // All but the first are one, so that silence costs no memory.
    assert!(
        reading
            .minutes
            .windows(2)
            .all(|two| Arc::ptr_eq(&two[0], &two[1]))
    );
    let hour = reading.loads().hour;
    assert_eq!((hour.arrivals, hour.between.count), (0, 0));
    assert!(close(hour.seconds, 3600.0) && close(hour.levels[2].seconds, 3600.0));
    assert_eq!(
        hour.counts.map(|counts| counts.bins),
        [360_000, 36_000, 3600]
    );
    assert_eq!(hour.blocks.len(), 720);
    // The hold has seen all of it, and the pause is no time between two arrivals.
    pool.pass(10 * MS).give_back(None).take();
    let minute = pool.pass(10 * MS).read().loads().minute;
    assert_eq!((minute.levels[2].holds, minute.between.count), (1, 0));
    assert!(close(minute.levels[2].held, DAY.as_secs_f64() + 0.01));
}

#[test]
fn the_busiest_five_minutes_are_kept_for_a_day() {
    let mut pool = ByHand::new();
    pool.pass(MIN);
    pool.five_minutes_of(2);
    pool.five_minutes_of(6);
    let ended = pool.now;
    pool.five_minutes_of(1);
    for _ in 0..23 * 12 {
        let loads = pool.read().loads();
        assert_eq!(
            (loads.busiest.arrivals, loads.busiest.blocks.len()),
            (1800, 60)
        );
        assert!(close(loads.busiest_ended, (pool.now - ended).as_secs_f64()));
        pool.take().give_back(None).pass(5 * MIN);
    }
    pool.pass(MIN * 54);
    assert_eq!(pool.read().loads().busiest.arrivals, 1800);
    pool.pass(MIN);
    let loads = pool.read().loads();
    assert!(loads.busiest.arrivals < 1800);
}

#[test]
fn what_is_busier_now_is_the_busiest_and_a_young_pool_has_only_that() {
    let mut pool = ByHand::new();
    assert_eq!(pool.read().loads().busiest.arrivals, 0);
    pool.take().pass(MS).give_back(None);
    let loads = pool.pass(20 * MIN / 60).read().loads();
    assert_eq!((loads.busiest.arrivals, loads.busiest_ended), (1, 0.0));
    pool.five_minutes_of(1);
    pool.five_minutes_of(3);
    let loads = pool.read().loads();
    assert!(loads.busiest.arrivals >= 600, "{}", loads.busiest.arrivals);
    assert!(loads.busiest_ended < 60.0);
}

/// Its load is over before it is five minutes old, and nobody asks for hours.
#[test]
fn the_load_of_a_young_pool_outlasts_a_silence() {
    let mut pool = ByHand::new();
    for _ in 0..240 {
        pool.take().pass(50 * MS).give_back(None).pass(50 * MS);
    }
    for silence in [MIN, 4 * MIN, 2 * 60 * MIN, 20 * 60 * MIN] {
        let loads = pool.pass(silence).read().loads();
        assert_eq!(loads.busiest.arrivals, 240, "{silence:?}");
    }
    assert_eq!(pool.pass(4 * 60 * MIN).read().loads().busiest.arrivals, 0);
}

#[test]
fn the_windows_are_as_long_as_their_names_and_the_minute_under_way() {
    let mut pool = ByHand::new();
    for _ in 0..120 {
        pool.take().pass(MIN).give_back(None);
    }
    let loads = pool.pass(MIN / 2).read().loads();
    let arrivals = [&loads.minute, &loads.five_minutes, &loads.hour].map(|load| load.arrivals);
    assert_eq!(arrivals, [1, 5, 60]);
    let seconds = [&loads.minute, &loads.five_minutes, &loads.hour].map(|load| load.seconds);
    assert_eq!(seconds, [90.0, 330.0, 3630.0]);
}

#[test]
fn memory_is_bounded_however_many_connections_and_minutes() {
    let mut pool = ByHand::new();
    for hour in 0..30_u32 {
        pool.record.set_level(100_000 * (hour % 3), 0);
        for _ in 0..60 {
            pool.take().pass(MIN).give_back(None);
            pool.record.set_level(u32::MAX - hour, 0);
        }
    }
    let reading = pool.read();
    let levels = |load: &Load| load.levels.capacity();
    assert_eq!(reading.minutes.len(), MINUTES);
    assert!(reading.minutes.iter().all(|minute| levels(minute) <= 329));
    assert!(
        reading
            .minutes
            .iter()
            .all(|minute| minute.blocks.len() == 12)
    );
    assert!(levels(&reading.current) <= 512);
    assert!(
        pool.record.busiest.len() <= 25,
        "{}",
        pool.record.busiest.len()
    );
}
