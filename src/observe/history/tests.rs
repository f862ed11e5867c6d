//! The history by a clock that the test moves.

use super::*;
use crate::observe::clock::SECOND;

const MILLISECOND: u64 = SECOND / 1000;

/// A pool of one connection, which is asked for regularly.
struct Regular {
    history: History,
    now: u64,
}

impl Regular {
    fn new() -> Self {
        Self {
            history: History::new(1),
            now: 0,
        }
    }

    /// One more, held for this long. The next one may come after this time.
    fn checkout(&mut self, held: u64, every: u64) {
        self.history.asked();
        let asked = Asked {
            asked: self.now,
            ..Asked::default()
        };
        let position = self.history.granted(self.now, self.now, asked);
        if let Some(position) = position {
            self.history.returned(position, self.now + held, None);
        }
        self.now += every;
    }

    fn until(&mut self, until: u64, held: u64, every: u64) {
        while self.now < until {
            self.checkout(held, every);
        }
    }

    fn read(&mut self) -> Recorded {
        self.history.read(self.now)
    }

    /// Bytes of all entries that it holds on to.
    fn bytes(&self) -> usize {
        let History {
            writing,
            closing,
            kept,
            busiest,
            ..
        } = &self.history;
        let open = writing
            .iter()
            .chain(closing)
            .map(|it| it.entries.capacity());
        let kept = kept.iter().map(|it| it.entries.capacity());
        let windows = busiest.iter().flatten().flat_map(|it| &it.segments);
        let windows = windows.map(|it| it.segment.entries.capacity());
        open.chain(kept).chain(windows).sum::<usize>() * size_of::<Entry>()
    }
}

fn seconds_of(recorded: &Recorded) -> f64 {
    let recent = &recorded.recent;
    let ended = recent.last().unwrap().segment.ended;
    seconds(ended - recent[0].segment.began)
}

#[test]
fn an_entry_has_32_bytes() {
    assert_eq!(size_of::<Entry>(), 32);
}

#[test]
fn a_busy_pool_keeps_samples_of_all_of_its_last_five_minutes() {
    // Of the fast one a segment is full after a second, of the other one after twelve.
    for (every, until) in [
        (250 * MILLISECOND / 1000, 90 * SECOND),
        (3 * MILLISECOND, 12 * MINUTE),
    ] {
        let mut pool = Regular::new();
        let mut next = 5 * SECOND;
        while pool.now < until {
            pool.until(next, MILLISECOND, every);
            let recorded = pool.read();
            // From its beginning on, while it is young; an eighth may be waiting for its next sample.
            let covered = seconds(pool.now.min(COVERED)) * (1.0 - 1.0 / FULL as f64);
            let found = seconds_of(&recorded);
            let age = seconds(pool.now);
            assert!(found >= covered, "{found} of {covered} s after {age} s");
            let full = recorded.recent.iter().filter(|it| it.segment.is_full());
            assert!(full.count() <= FULL + 1);
            // All of those who asked are counted.
            let first = recorded.recent[0].segment.began;
            let asked: u64 = recorded.recent.iter().map(|it| it.asked).sum();
            assert_eq!(asked, (pool.now - first).div_ceil(every));
            next += 7 * SECOND;
        }
        // The newest may be full, and wait for its last connection.
        assert!(pool.bytes() <= 3 * (FULL + 2) * ENTRIES * size_of::<Entry>());
    }
}

#[test]
fn a_pool_that_is_not_busy_leaves_nothing_out_and_uses_kilobytes() {
    let mut pool = Regular::new();
    for hour in 1..=3 {
        pool.until(hour * 60 * MINUTE, MILLISECOND, 2 * SECOND);
        assert!(pool.bytes() < 160 * 1024, "{}", pool.bytes());
    }
    // An hour of it, and no gap.
    let recorded = pool.read();
    let recent = &recorded.recent;
    assert!((3600.0..=3900.0).contains(&seconds_of(&recorded)));
    assert!(recent[1..].iter().all(|it| it.segment.follows));
    let entries: usize = recent.iter().map(|it| it.segment.entries.len()).sum();
    assert!((1799..=1951).contains(&entries), "{entries}");
}

#[test]
fn one_that_is_in_between_keeps_five_minutes_without_a_gap() {
    // In five minutes all that fits.
    let mut pool = Regular::new();
    pool.until(20 * MINUTE, MILLISECOND, 10 * MILLISECOND);
    let recorded = pool.read();
    assert!(seconds_of(&recorded) >= 300.0);
    assert!(recorded.recent[1..].iter().all(|it| it.segment.follows));
}

#[test]
fn a_return_is_written_down_until_the_next_segment_ends() {
    let mut history = History::new(9);
    let mut now = 0;
    let mut take = |history: &mut History| {
        now += MILLISECOND;
        history.asked();
        let asked = Asked {
            asked: now,
            ..Asked::default()
        };
        (history.granted(now, now, asked), now)
    };
    let (early, _) = take(&mut history);
    let (late, _) = take(&mut history);
    let mut end = 0;
    for _ in 2..=ENTRIES {
        let (position, now) = take(&mut history);
        history.returned(position.unwrap(), now, None);
        end = now;
    }
    let returned = |history: &mut History, end, entry: usize| {
        history.read(end).recent[0].segment.entries[entry].returned
    };
    assert_eq!(returned(&mut history, end, 0), NEVER);
    history.returned(early.unwrap(), end + SECOND, None);
    let micros = (end + SECOND - MILLISECOND) / 1000;
    assert_eq!(returned(&mut history, end + SECOND, 0), micros as u32);
    // The next one begins and ends, and then it is too late for the other one.
    let mut end = end + 2 * SECOND;
    for _ in 0..=ENTRIES {
        history.asked();
        end += MILLISECOND;
        let position = history.granted(end, end, Asked::default());
        if let Some(position) = position {
            history.returned(position, end, None);
        }
    }
    history.returned(late.unwrap(), end, None);
    assert_eq!(returned(&mut history, end, 1), NEVER);
    assert_eq!(returned(&mut history, end, 0), micros as u32);
}

#[test]
fn a_reader_keeps_what_it_has_read_while_more_is_written() {
    let mut pool = Regular::new();
    pool.until(SECOND, MILLISECOND, 10 * MILLISECOND);
    let before = pool.read();
    assert_eq!(before.recent[0].segment.entries.len(), 100);
    pool.until(120 * SECOND, MILLISECOND, 10 * MILLISECOND);
    let after = pool.read();
    assert_eq!(before.recent[0].segment.entries.len(), 100);
    assert_eq!(
        before.recent[0].segment.entries[..],
        after.recent[0].segment.entries[..100]
    );
    // What has ended is shared, and not copied.
    let again = pool.read();
    assert!(Arc::ptr_eq(
        &after.recent[0].segment,
        &again.recent[0].segment
    ));
}

#[test]
fn what_is_older_than_an_hour_is_forgotten() {
    let mut pool = Regular::new();
    pool.until(MINUTE, MILLISECOND, 10 * MILLISECOND);
    pool.now = 64 * MINUTE;
    assert!(!pool.read().recent.is_empty());
    pool.now = 66 * MINUTE;
    assert!(pool.read().recent.is_empty());
}

#[test]
fn the_busiest_window_of_a_day_is_known() {
    let mut pool = Regular::new();
    let busy = |pool: &mut Regular, held| {
        let until = pool.now + 10 * MINUTE;
        pool.until(until, held, 50 * MILLISECOND);
    };
    busy(&mut pool, MILLISECOND);
    busy(&mut pool, 20 * MILLISECOND);
    let ended = pool.now;
    busy(&mut pool, MILLISECOND);
    let of = |pool: &mut Regular| {
        let (segments, ended) = pool.read().busiest?;
        Some((mean_held(&segments), ended))
    };
    let (held, at) = of(&mut pool).unwrap();
    assert!((held - 0.4).abs() < 0.05, "{held}");
    assert!(at.abs_diff(ended) <= COVERED, "{at} {ended}");
    // In the other half of the day a less busy one is kept beside it, and after it.
    pool.now = HALF_DAY + MINUTE;
    busy(&mut pool, 5 * MILLISECOND);
    assert_eq!(of(&mut pool), Some((held, at)));
    // Nobody asks any more.
    pool.now = at + 2 * HALF_DAY - 1;
    assert_eq!(of(&mut pool), Some((held, at)));
    pool.now = at + 2 * HALF_DAY;
    let (held, at) = of(&mut pool).unwrap();
    assert!((held - 0.1).abs() < 0.02, "{held}");
    pool.now = at + 2 * HALF_DAY;
    assert_eq!(of(&mut pool), None);
}

#[test]
fn the_busiest_window_stands_for_those_who_asked_until_it_ended() {
    let mut pool = Regular::new();
    pool.until(20 * MINUTE, 4 * MILLISECOND, 5 * MILLISECOND);
    let (segments, _) = pool.read().busiest.unwrap();
    let first = &segments[0].segment;
    let last = &segments[segments.len() - 1].segment;
    let asked: u64 = segments.iter().map(|it| it.asked).sum();
    // Until the segment after its last one began.
    let least = (last.ended - first.began) / (5 * MILLISECOND);
    let most = least + COVERED / FULL as u64 / (5 * MILLISECOND);
    assert!((least..=most).contains(&asked), "{least} {asked} {most}");
}

#[test]
fn the_first_minutes_of_a_pool_are_not_its_busiest() {
    let mut pool = Regular::new();
    pool.until(4 * MINUTE, 9 * MILLISECOND, 10 * MILLISECOND);
    assert!(pool.read().busiest.is_none());
}

/// The first connection takes a second to open.
#[test]
fn the_record_begins_when_the_first_is_asked_for() {
    let mut history = History::new(2);
    for _ in 0..3 {
        history.asked();
    }
    for (n, granted) in [SECOND, SECOND + 5, 2 * SECOND].into_iter().enumerate() {
        let asked = Asked {
            asked: (10 + n as u64) * MILLISECOND,
            ..Asked::default()
        };
        history.granted(granted, granted, asked);
    }
    let recorded = history.read(3 * SECOND);
    let segment = &recorded.recent[0].segment;
    assert_eq!(
        (segment.began, segment.ended),
        (10 * MILLISECOND, 3 * SECOND)
    );
    let asked: Vec<_> = segment.entries.iter().map(|it| it.asked).collect();
    assert_eq!(asked, [0, 1000, 2000]);
    assert_eq!(segment.entries[0].granted, 990_000);
    assert_eq!(recorded.recent[0].asked, 3);
}
