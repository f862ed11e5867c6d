//! Records the recent checkouts individually, for advice to replay.
//!
//! Checkouts are recorded in *segments*. A segment contains every checkout of a period, up to
//! [`ENTRIES`]. A pool with moderate load writes one segment after another. A busy pool leaves gaps
//! between segments, in which checkouts are only counted, so that the kept segments cover the last five
//! minutes. A completed segment is shared with readers and never copied.

mod busiest;
mod segment;

use std::collections::VecDeque;
use std::sync::Arc;

use self::busiest::Busiest;
use self::segment::LONGEST;
pub(crate) use self::segment::{Asked, ENTRIES, Entry, NEVER, Position, Queries, Segment};
use crate::record::clock::MINUTE;

/// Number of full segments kept. If segments have fewer entries, more of them are kept.
const FULL: usize = 8;

/// Period that the kept segments of a busy pool cover.
const COVERED: u64 = 5 * MINUTE;

/// Age at which segments are discarded.
const FORGOTTEN: u64 = 60 * MINUTE;

/// A segment, and the number of checkouts requested from its beginning to the beginning of the next.
#[derive(Debug, Clone)]
pub(crate) struct Counted {
    pub(crate) segment: Arc<Segment>,
    pub(crate) asked: u64,
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
    busiest: Busiest,
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
            busiest: Busiest::default(),
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
        let entry = position.entry as usize;
        let is_its = |segment: &&mut Segment| segment.number == position.segment;
        if let Some(segment) = self.writing.as_mut().filter(is_its) {
            segment.returned(entry, now, queries);
        } else if let Some(segment) = self.closing.as_mut().filter(is_its) {
            segment.returned(entry, now, queries);
            if segment.held == 0 {
                self.keep_closing();
            }
        }
    }

    /// Returns the segment to write to, and begins one if it is due. `None` in a gap between segments.
    fn segment(&mut self, now: u64, asked: u64) -> Option<&mut Segment> {
        if self.writing.as_ref().is_none_or(|it| it.is_over(now)) {
            self.close(now);
            self.begin(now, asked);
        }
        self.writing.as_mut()
    }

    /// Begins a segment if it is due.
    #[cold]
    fn begin(&mut self, now: u64, asked: u64) {
        if now >= self.next {
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
    }

    /// Ends the current segment. Its outstanding returns are recorded until the next segment ends.
    #[cold]
    fn close(&mut self, now: u64) {
        let Some(mut segment) = self.writing.take() else {
            return;
        };
        self.keep_closing();
        if segment.is_full() {
            segment.ended = now;
        } else {
            segment.ended = now.min(segment.began + LONGEST);
            self.next = segment.ended;
        }
        let is_complete = segment.held == 0;
        self.closing = Some(segment);
        if is_complete {
            self.keep_closing();
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
        // A pool's first minutes are often not typical.
        if now >= COVERED {
            let segments = self.count(self.kept.iter().cloned(), now);
            self.busiest.compare(segments, now);
        }
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
        let writing = self.writing.clone();
        let writing = writing.map(|segment| Segment {
            ended: now,
            ..segment
        });
        let open = self.closing.iter().cloned().chain(writing).map(Arc::new);
        let recent = self.count(self.kept.iter().cloned().chain(open), now);
        Recorded {
            recent,
            busiest: self.busiest.read(now),
        }
    }
}

fn short(size: u32) -> u16 {
    u16::try_from(size).unwrap_or(u16::MAX)
}

#[cfg(test)]
mod tests;
