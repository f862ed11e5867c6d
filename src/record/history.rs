//! Records the recent checkouts individually, for advice to replay.
//!
//! Checkouts are recorded in *segments*. A segment contains every checkout of a period, up to
//! [`ENTRIES`]. A pool with moderate load writes one segment after another. A busy pool leaves gaps
//! between segments, in which checkouts are only counted, so that the kept segments cover the last five
//! minutes. A completed segment is shared with readers and never copied.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::record::clock::{MINUTE, seconds};

/// Maximum number of checkouts in a segment.
const ENTRIES: usize = 4096;

/// Number of full segments kept. If segments have fewer entries, more of them are kept.
const FULL: usize = 8;

/// Period that the kept segments of a busy pool cover.
const COVERED: u64 = 5 * MINUTE;

/// Maximum duration of a segment, even if it is not full.
const LONGEST: u64 = COVERED;

/// Age at which segments are discarded.
const FORGOTTEN: u64 = 60 * MINUTE;

/// Period of which the busiest window is kept; the window of the period before is kept, too.
const HALF_DAY: u64 = 12 * 60 * MINUTE;

/// Marks a time that is unknown or has not been reached.
pub(crate) const NEVER: u32 = u32::MAX;

/// One checkout, in 32 bytes. Times are microseconds since its segment began, rounded down.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Entry {
    /// When the connection was requested; negative if before the segment began.
    pub(crate) asked: i32,
    /// When its turn came; [`NEVER`] if it gave up before.
    pub(crate) granted: u32,
    /// When the connection was returned or the caller gave up; [`NEVER`] if neither has happened.
    pub(crate) returned: u32,
    /// When its first query began and its last query ended; [`NEVER`] without queries.
    pub(crate) first: u32,
    pub(crate) last: u32,
    /// Microseconds in which a query was running; [`NEVER`] if queries are not watched.
    pub(crate) busy: u32,
    /// Number of the request that the checkout belongs to; 0 if unknown.
    pub(crate) request: u32,
    /// Hash of the call site.
    pub(crate) place: u16,
    /// Maximum number of connections at the time.
    pub(crate) size: u16,
}

/// Every checkout that was granted or gave up within a period. Times are nanoseconds of the pool's
/// clock; the beginning is a whole microsecond.
#[derive(Debug, Clone)]
pub(crate) struct Segment {
    number: u32,
    pub(crate) began: u64,
    pub(crate) ended: u64,
    pub(crate) entries: Vec<Entry>,
    /// Whether no checkout is missing between the previous segment and this one.
    pub(crate) follows: bool,
    /// Number of checkouts requested since the pool started, before this segment.
    asked_before: u64,
    /// Number of entries whose connection has not been returned.
    held: usize,
}

/// A segment, and the number of checkouts requested from its beginning to the beginning of the next.
#[derive(Debug, Clone)]
pub(crate) struct Counted {
    pub(crate) segment: Arc<Segment>,
    pub(crate) asked: u64,
}

/// Position of a hold's entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Position {
    segment: u32,
    entry: u32,
}

/// The request for a connection. Times are nanoseconds of the pool's clock.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Asked {
    pub(crate) asked: u64,
    pub(crate) request: u32,
    pub(crate) place: u16,
}

/// The queries of a hold.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Queries {
    /// When the first query began and the last ended; `None` without queries.
    pub(crate) between: Option<(u64, u64)>,
    /// Nanoseconds in which a query was running.
    pub(crate) busy: u64,
}

/// The recent checkouts of one pool; see the [module](self).
#[derive(Debug)]
pub(crate) struct History {
    /// Number of checkouts requested since the pool started.
    asked: u64,
    /// Number of segments begun.
    numbers: u32,
    /// The segment being written.
    writing: Option<Segment>,
    /// The previous segment, while some of its connections are checked out.
    closing: Option<Segment>,
    /// Completed segments, the newest last.
    kept: VecDeque<Arc<Segment>>,
    /// Earliest beginning of the next segment.
    next: u64,
    /// Maximum number of connections.
    size: u16,
    /// The busiest windows of this half-day and of the previous one.
    busiest: [Option<BusiestWindow>; 2],
}

/// The busiest window of a half-day.
#[derive(Debug, Clone)]
struct BusiestWindow {
    half_day: u64,
    /// Mean number of connections held.
    held: f64,
    ended: u64,
    segments: Vec<Counted>,
}

/// A snapshot of the history.
#[derive(Debug, Clone, Default)]
pub(crate) struct Recorded {
    /// Segments of the last five minutes, the newest last. They reach further back if these minutes
    /// have few checkouts.
    pub(crate) recent: Vec<Counted>,
    /// The window of the last day in which the most connections were held on average, and when it
    /// ended. It may be less busy than the recent segments.
    pub(crate) busiest: Option<(Vec<Counted>, u64)>,
}

impl History {
    /// Creates an empty history of a pool with at most `size` connections.
    pub(crate) fn new(size: u32) -> Self {
        Self {
            size: short(size),
            asked: 0,
            numbers: 0,
            writing: None,
            closing: None,
            kept: VecDeque::new(),
            next: 0,
            busiest: [None, None],
        }
    }

    /// Sets the maximum number of connections for new entries.
    pub(crate) fn set_size(&mut self, size: u32) {
        self.size = short(size);
    }

    /// Counts a request for a connection. Each checkout is counted once.
    pub(crate) fn asked(&mut self) {
        self.asked += 1;
    }

    /// Records that a checkout got a connection. `granted` is when its turn came, before a ping or a
    /// connection attempt. Returns the position of its entry; `None` in a gap between segments.
    pub(crate) fn granted(&mut self, now: u64, granted: u64, asked: Asked) -> Option<Position> {
        let size = self.size;
        let segment = self.segment(now, asked.asked)?;
        let position = Position {
            segment: segment.number,
            entry: segment.entries.len() as u32,
        };
        let granted = segment.micros(granted);
        segment.held += 1;
        segment.push(asked, size, granted, NEVER);
        Some(position)
    }

    /// Records a checkout that gave up or was shed.
    pub(crate) fn gave_up(&mut self, now: u64, asked: Asked) {
        let size = self.size;
        if let Some(segment) = self.segment(now, asked.asked) {
            let now = segment.micros(now);
            segment.push(asked, size, NEVER, now);
        }
    }

    /// Records the return of a connection.
    pub(crate) fn returned(&mut self, position: Position, now: u64, queries: Option<Queries>) {
        let mut segments = self.writing.iter_mut().chain(&mut self.closing);
        if let Some(segment) = segments.find(|segment| segment.number == position.segment) {
            segment.returned(position.entry as usize, now, queries);
        }
        if self
            .closing
            .as_ref()
            .is_some_and(|closing| closing.held == 0)
        {
            self.keep_closing();
        }
    }

    /// Returns the segment to write to, and begins one if it is due. `None` in a gap between segments.
    fn segment(&mut self, now: u64, asked: u64) -> Option<&mut Segment> {
        if self.writing.as_ref().is_some_and(|it| it.is_over(now)) {
            self.close(now);
        }
        if self.writing.is_none() && now >= self.next {
            let before = self
                .closing
                .as_ref()
                .or(self.kept.back().map(|kept| &**kept));
            let follows = before
                .is_some_and(|it| it.ended == now || !it.is_full() && now - it.ended < LONGEST);
            let (began, asked_before) = match self.numbers {
                // The first segment begins with the first request, however long connecting takes.
                0 => (asked.min(now), 0),
                _ => (now, self.asked.saturating_sub(1)),
            };
            self.numbers = self.numbers.wrapping_add(1);
            self.writing = Some(Segment {
                number: self.numbers,
                // A whole microsecond, so that the times of all segments are rounded alike.
                began: began - began % 1000,
                ended: now,
                entries: Vec::new(),
                follows,
                asked_before,
                held: 0,
            });
            // The segments of a young pool cover its whole life, at growing intervals.
            self.next = now + (COVERED.min(now) / FULL as u64);
        }
        self.writing.as_mut()
    }

    /// Ends the current segment. Its outstanding returns are recorded until the next segment ends.
    #[cold]
    fn close(&mut self, now: u64) {
        self.keep_closing();
        if let Some(mut segment) = self.writing.take() {
            if segment.is_full() {
                segment.ended = now;
            } else {
                segment.ended = now.min(segment.began + LONGEST);
                self.next = segment.ended;
            }
            self.closing = Some(segment);
            if self.closing.as_ref().is_some_and(|it| it.held == 0) {
                self.keep_closing();
            }
        }
    }

    /// Moves the previous segment to the kept ones.
    #[cold]
    fn keep_closing(&mut self) {
        let Some(mut segment) = self.closing.take() else {
            return;
        };
        segment.entries.shrink_to_fit();
        let now = segment.ended;
        self.kept.push_back(Arc::new(segment));
        let entries = |kept: &VecDeque<Arc<Segment>>| -> usize {
            kept.iter().map(|segment| segment.entries.len()).sum()
        };
        while entries(&self.kept) > FULL * ENTRIES {
            self.leave_one_out(now);
        }
        self.forget(now);
        self.compare_with_busiest(now);
    }

    /// Removes one kept segment: the oldest, or, if a young pool needs that one to cover its whole
    /// life, the one whose removal leaves the smallest gap.
    fn leave_one_out(&mut self, now: u64) {
        let is_old = |it: &Arc<Segment>| it.began + COVERED <= now;
        let middle = 1..self.kept.len().saturating_sub(1);
        let without = |index: &usize| {
            self.kept[index + 1]
                .began
                .saturating_sub(self.kept[index - 1].ended)
        };
        match middle.min_by_key(without) {
            Some(index) if !self.kept.front().is_some_and(is_old) => {
                self.kept.remove(index);
                Arc::make_mut(&mut self.kept[index]).follows = false;
            }
            _ => {
                self.kept.pop_front();
            }
        }
    }

    fn forget(&mut self, now: u64) {
        let is_old = |segment: &Arc<Segment>| segment.ended + FORGOTTEN <= now;
        while self.kept.front().is_some_and(is_old) {
            self.kept.pop_front();
        }
    }

    /// Keeps the current window if it is the busiest of this half-day.
    fn compare_with_busiest(&mut self, now: u64) {
        // A pool's first minutes are often not typical.
        if now < COVERED {
            return;
        }
        let segments = self.count(self.kept.iter().cloned(), now);
        let held = mean_held(&segments);
        let half_day = now / HALF_DAY;
        let [current, before] = &mut self.busiest;
        if current.as_ref().is_none_or(|it| it.half_day != half_day) {
            *before = current.take();
        }
        if current.as_ref().is_none_or(|it| it.held < held) {
            *current = Some(BusiestWindow {
                half_day,
                held,
                ended: now,
                segments,
            });
        }
    }

    /// Returns the last of these segments, each with the number of checkouts that it represents. Goes
    /// back far enough for [`ENTRIES`] entries, one recorded minute and [`COVERED`].
    fn count(&self, segments: impl Iterator<Item = Arc<Segment>>, now: u64) -> Vec<Counted> {
        let segments: Vec<_> = segments.collect();
        let next = |index: usize| {
            segments
                .get(index + 1)
                .map_or(self.asked, |it| it.asked_before)
        };
        let counted = segments.iter().enumerate().map(|(index, segment)| Counted {
            segment: Arc::clone(segment),
            asked: next(index) - segment.asked_before,
        });
        let mut counted: Vec<_> = counted.collect();
        let (mut entries, mut recorded) = (0, 0);
        let first = counted.iter().rposition(|Counted { segment, .. }| {
            entries += segment.entries.len();
            recorded += segment.busy_until();
            entries >= ENTRIES && recorded >= MINUTE && segment.began + COVERED <= now
        });
        counted.drain(..first.unwrap_or(0));
        counted
    }

    /// Returns a snapshot at `now`. Copies only the segments still written to, at most 256 KiB.
    pub(crate) fn read(&mut self, now: u64) -> Recorded {
        if self.writing.as_ref().is_some_and(|it| it.is_over(now)) {
            self.close(now);
        }
        if self
            .closing
            .as_ref()
            .is_some_and(|it| it.ended + LONGEST <= now)
        {
            self.keep_closing();
        }
        self.forget(now);
        let open = self.closing.iter().chain(&self.writing);
        let open = open.map(|segment| {
            let mut copy = segment.clone();
            if copy.number == self.numbers && self.writing.is_some() {
                copy.ended = now;
            }
            Arc::new(copy)
        });
        let open: Vec<_> = open.collect();
        let recent = self.count(self.kept.iter().cloned().chain(open), now);
        let known = self.busiest.iter().flatten();
        let known = known.filter(|window| window.ended + 2 * HALF_DAY > now);
        let busiest = known.max_by(|a, b| a.held.total_cmp(&b.held));
        Recorded {
            recent,
            busiest: busiest.map(|window| (window.segments.clone(), window.ended)),
        }
    }
}

impl Segment {
    fn is_full(&self) -> bool {
        self.entries.len() >= ENTRIES
    }

    /// Returns the nanoseconds from its beginning until its last checkout was granted or gave up.
    fn busy_until(&self) -> u64 {
        let last = self.entries.last();
        last.map_or(0, |it| u64::from(it.granted.min(it.returned)) * 1000)
    }

    fn is_over(&self, now: u64) -> bool {
        self.is_full() || now >= self.began + LONGEST
    }

    /// Converts a time to microseconds since the segment began, clamped to 0 and `NEVER - 1`.
    fn micros(&self, at: u64) -> u32 {
        let micros = at.saturating_sub(self.began) / 1000;
        u32::try_from(micros).map_or(NEVER - 1, |micros| micros.min(NEVER - 1))
    }

    fn push(&mut self, asked: Asked, size: u16, granted: u32, returned: u32) {
        let since = (asked.asked.cast_signed() - self.began.cast_signed()).div_euclid(1000);
        self.entries.push(Entry {
            asked: since.clamp(i32::MIN.into(), i32::MAX.into()) as i32,
            granted,
            returned,
            first: NEVER,
            last: NEVER,
            busy: NEVER,
            request: asked.request,
            place: asked.place,
            size,
        });
    }

    fn returned(&mut self, entry: usize, now: u64, queries: Option<Queries>) {
        let now = self.micros(now);
        let times = queries.map(|queries| {
            let busy = (queries.busy / 1000).min(u64::from(NEVER - 1)) as u32;
            (
                busy,
                queries
                    .between
                    .map(|(first, last)| (self.micros(first), self.micros(last))),
            )
        });
        let Some(entry) = self.entries.get_mut(entry) else {
            return;
        };
        entry.returned = now.max(entry.granted);
        if let Some((busy, between)) = times {
            entry.busy = busy;
            if let Some((first, last)) = between {
                (entry.first, entry.last) = (first.max(entry.granted), last.min(entry.returned));
            }
        }
        self.held = self.held.saturating_sub(1);
    }

    /// Returns the duration of the segment in seconds.
    pub(crate) fn seconds(&self) -> f64 {
        seconds(self.ended.saturating_sub(self.began))
    }

    /// Returns the connection-seconds held within the segment.
    fn held(&self) -> f64 {
        let end = self.micros(self.ended);
        let entries = self.entries.iter().filter(|entry| entry.granted != NEVER);
        let held = entries.map(|entry| entry.returned.min(end).saturating_sub(entry.granted));
        held.map(f64::from).sum::<f64>() / 1e6
    }
}

fn short(size: u32) -> u16 {
    u16::try_from(size).unwrap_or(u16::MAX)
}

/// Returns the mean number of connections held. Each segment is weighted by the number of checkouts that
/// it represents.
fn mean_held(segments: &[Counted]) -> f64 {
    let (mut held, mut asked) = (0.0, 0.0);
    for Counted {
        segment,
        asked: stands_for,
    } in segments
    {
        let share = *stands_for as f64;
        held += share * segment.held() / segment.seconds().max(1e-6);
        asked += share;
    }
    held / asked.max(1.0)
}

#[cfg(test)]
impl Segment {
    pub(crate) fn of(began: u64, ended: u64, follows: bool, entries: Vec<Entry>) -> Self {
        Self {
            number: 0,
            began,
            ended,
            entries,
            follows,
            asked_before: 0,
            held: 0,
        }
    }
}

#[cfg(test)]
mod tests;
