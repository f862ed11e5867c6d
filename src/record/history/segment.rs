//! A segment of the history: every checkout of a period.

use crate::record::clock::{MINUTE, seconds};

/// Maximum number of checkouts in a segment.
pub(crate) const ENTRIES: usize = 4096;

/// Maximum duration of a segment, even if it is not full.
pub(super) const LONGEST: u64 = 5 * MINUTE;

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
    pub(super) number: u32,
    pub(crate) began: u64,
    pub(crate) ended: u64,
    pub(crate) entries: Vec<Entry>,
    /// Whether no checkout is missing between the previous segment and this one.
    pub(crate) follows: bool,
    /// Number of checkouts requested since the pool started, before this segment.
    pub(super) asked_before: u64,
    /// Number of entries whose connection has not been returned.
    pub(super) held: usize,
}

/// Position of a hold's entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Position {
    pub(super) segment: u32,
    pub(super) entry: u32,
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

impl Segment {
    pub(super) fn is_full(&self) -> bool {
        self.entries.len() >= ENTRIES
    }

    /// Returns the nanoseconds from its beginning until its last checkout was granted or gave up.
    pub(super) fn busy_until(&self) -> u64 {
        let last = self.entries.last();
        last.map_or(0, |it| u64::from(it.granted.min(it.returned)) * 1000)
    }

    pub(super) fn is_over(&self, now: u64) -> bool {
        self.is_full() || now >= self.began + LONGEST
    }

    /// Converts a time to microseconds since the segment began.
    pub(super) fn micros(&self, at: u64) -> u32 {
        micros(at.saturating_sub(self.began))
    }

    pub(super) fn push(&mut self, asked: Asked, size: u16, granted: u32, returned: u32) {
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

    pub(super) fn returned(&mut self, entry: usize, now: u64, queries: Option<Queries>) {
        let (now, began) = (self.micros(now), self.began);
        let Some(entry) = self.entries.get_mut(entry) else {
            return;
        };
        entry.returned = now.max(entry.granted);
        if let Some(Queries { between, busy }) = queries {
            entry.busy = micros(busy);
            if let Some((first, last)) = between {
                entry.first = micros(first.saturating_sub(began)).max(entry.granted);
                entry.last = micros(last.saturating_sub(began)).min(entry.returned);
            }
        }
        self.held = self.held.saturating_sub(1);
    }

    /// Returns whether no checkout was requested before those of this segment.
    pub(crate) fn is_first(&self) -> bool {
        self.asked_before == 0
    }

    /// Returns the duration of the segment in seconds.
    pub(crate) fn seconds(&self) -> f64 {
        seconds(self.ended.saturating_sub(self.began))
    }

    /// Returns the connection-seconds held within the segment.
    pub(super) fn held(&self) -> f64 {
        let end = self.micros(self.ended);
        let entries = self.entries.iter().filter(|entry| entry.granted != NEVER);
        let held = entries.map(|entry| entry.returned.min(end).saturating_sub(entry.granted));
        held.map(f64::from).sum::<f64>() / 1e6
    }
}

/// Converts nanoseconds to microseconds, at most `NEVER - 1`.
fn micros(nanos: u64) -> u32 {
    (nanos / 1000).min(u64::from(NEVER - 1)) as u32
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
