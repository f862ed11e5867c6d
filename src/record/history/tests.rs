//! Tests the history with a simulated clock.

mod reference_model;

use super::busiest::{HALF_DAY, mean_held};
use super::*;
use crate::record::clock::{SECOND, seconds};

const MILLISECOND: u64 = SECOND / 1000;

/// A pool of one connection, which is checked out at regular intervals.
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

    /// Performs a checkout that holds the connection for `held`, then advances the clock by `every`.
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

    /// Returns the bytes allocated for entries.
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
        let windows = busiest.0.iter().flatten().flat_map(|it| &it.segments);
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
fn a_busy_pool_keeps_samples_of_the_last_five_minutes() {
    // The fast pool fills a segment in one second, the slower one in twelve.
    for (every, until) in [
        (250 * MILLISECOND / 1000, 90 * SECOND),
        (3 * MILLISECOND, 12 * MINUTE),
    ] {
        let mut pool = Regular::new();
        let mut next = 5 * SECOND;
        while pool.now < until {
            pool.until(next, MILLISECOND, every);
            let recorded = pool.read();
            // A young pool's samples cover its whole life; up to an eighth may not have a sample yet.
            let covered = seconds(pool.now.min(COVERED)) * (1.0 - 1.0 / FULL as f64);
            let found = seconds_of(&recorded);
            let age = seconds(pool.now);
            assert!(found >= covered, "{found} of {covered} s after {age} s");
            let full = recorded.recent.iter().filter(|it| it.segment.is_full());
            assert!(full.count() <= FULL + 1);
            // All requests are counted.
            let first = recorded.recent[0].segment.began;
            let asked: u64 = recorded.recent.iter().map(|it| it.asked).sum();
            assert_eq!(asked, (pool.now - first).div_ceil(every));
            next += 7 * SECOND;
        }
        // The newest segment may be full and wait for the return of its last connection.
        assert!(pool.bytes() <= 3 * (FULL + 2) * ENTRIES * size_of::<Entry>());
    }
}

#[test]
fn a_quiet_pool_has_no_gaps_and_uses_kilobytes() {
    let mut pool = Regular::new();
    for hour in 1..=3 {
        pool.until(hour * 60 * MINUTE, MILLISECOND, 2 * SECOND);
        assert!(pool.bytes() < 160 * 1024, "{}", pool.bytes());
    }
    // It has an hour without a gap.
    let recorded = pool.read();
    let recent = &recorded.recent;
    assert!((3600.0..=3900.0).contains(&seconds_of(&recorded)));
    assert!(recent[1..].iter().all(|it| it.segment.follows));
    let entries: usize = recent.iter().map(|it| it.segment.entries.len()).sum();
    assert!((1799..=1951).contains(&entries), "{entries}");
}

#[test]
fn a_moderately_busy_pool_keeps_five_minutes_without_a_gap() {
    // All checkouts of five minutes fit.
    let mut pool = Regular::new();
    pool.until(20 * MINUTE, MILLISECOND, 10 * MILLISECOND);
    let recorded = pool.read();
    assert!(seconds_of(&recorded) >= 300.0);
    assert!(recorded.recent[1..].iter().all(|it| it.segment.follows));
}

#[test]
fn a_return_is_recorded_until_the_next_segment_ends() {
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
    // The next segment begins and ends. After that, a return is not recorded.
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
fn a_snapshot_does_not_change_while_more_is_recorded() {
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
    // A completed segment is shared and not copied.
    let again = pool.read();
    assert!(Arc::ptr_eq(
        &after.recent[0].segment,
        &again.recent[0].segment
    ));
}

#[test]
fn segments_older_than_an_hour_are_discarded() {
    let mut pool = Regular::new();
    pool.until(MINUTE, MILLISECOND, 10 * MILLISECOND);
    pool.now = 64 * MINUTE;
    assert!(!pool.read().recent.is_empty());
    pool.now = 66 * MINUTE;
    assert!(pool.read().recent.is_empty());
}

#[test]
fn the_busiest_window_of_a_day_is_kept() {
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
    // The less busy window of the next half-day is kept in addition, and outlasts the first.
    pool.now = HALF_DAY + MINUTE;
    busy(&mut pool, 5 * MILLISECOND);
    assert_eq!(of(&mut pool), Some((held, at)));
    // No more checkouts.
    pool.now = at + 2 * HALF_DAY - 1;
    assert_eq!(of(&mut pool), Some((held, at)));
    pool.now = at + 2 * HALF_DAY;
    let (held, at) = of(&mut pool).unwrap();
    assert!((held - 0.1).abs() < 0.02, "{held}");
    pool.now = at + 2 * HALF_DAY;
    assert_eq!(of(&mut pool), None);
}

#[test]
fn the_busiest_window_counts_all_requests_until_it_ended() {
    let mut pool = Regular::new();
    pool.until(20 * MINUTE, 4 * MILLISECOND, 5 * MILLISECOND);
    let (segments, _) = pool.read().busiest.unwrap();
    let first = &segments[0].segment;
    let last = &segments[segments.len() - 1].segment;
    let asked: u64 = segments.iter().map(|it| it.asked).sum();
    // Counted up to the beginning of the segment after its last.
    let least = (last.ended - first.began) / (5 * MILLISECOND);
    let most = least + COVERED / FULL as u64 / (5 * MILLISECOND);
    assert!((least..=most).contains(&asked), "{least} {asked} {most}");
}

#[test]
fn the_first_minutes_of_a_pool_are_not_the_busiest_window() {
    let mut pool = Regular::new();
    pool.until(4 * MINUTE, 9 * MILLISECOND, 10 * MILLISECOND);
    assert!(pool.read().busiest.is_none());
}

/// The first connection takes a second to open.
#[test]
fn the_history_begins_with_the_first_request() {
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
