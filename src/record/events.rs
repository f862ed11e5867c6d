//! What has happened to a pool and is not part of its usual work, for the page.

use std::collections::VecDeque;

use crate::backend::{ConnectErrorKind, InvalidatingError};
use crate::record::timeline::{LENGTH, Size};
use crate::record::usage::Site;

/// Number of events kept.
const KEPT: usize = 256;

/// An event.
#[derive(Debug, Clone)]
pub(crate) enum Event {
    /// Number of checkouts that timed out within one sample of the hour.
    TimedOut(u64),
    /// The pool may have another number of connections.
    Resized(Size),
    /// No server answers, by this kind of error.
    OutageBegan(ConnectErrorKind),
    OutageEnded,
    /// A connection is held for longer than the threshold.
    Leaked(Site),
    Suspended,
    Resumed,
    /// An error has invalidated a number of connections within one sample of the hour.
    Invalidated(&'static InvalidatingError, u64),
    Closed,
}

/// The last events, each with its time.
#[derive(Debug, Default)]
pub(crate) struct Events {
    last: VecDeque<(u64, Event)>,
    is_outage: bool,
}

impl Events {
    pub(crate) fn add(&mut self, at: u64, event: Event) {
        if self.last.len() == KEPT {
            self.last.pop_front();
        }
        self.last.push_back((at, event));
    }

    /// Counts a checkout that has timed out.
    pub(crate) fn timed_out(&mut self, at: u64) {
        let same = self.within(at).find_map(|event| match event {
            Event::TimedOut(number) => Some(number),
            _ => None,
        });
        match same {
            Some(number) => *number += 1,
            None => self.add(at, Event::TimedOut(1)),
        }
    }

    /// Counts a connection that an error has invalidated.
    pub(crate) fn invalidated(&mut self, at: u64, error: &'static InvalidatingError) {
        let same = self.within(at).find_map(|event| match event {
            Event::Invalidated(other, number) if std::ptr::eq(*other, error) => Some(number),
            _ => None,
        });
        match same {
            Some(number) => *number += 1,
            None => self.add(at, Event::Invalidated(error, 1)),
        }
    }

    /// Records that no server answers, if the last attempt to connect did not say so already.
    pub(crate) fn outage(&mut self, at: u64, kind: ConnectErrorKind) {
        if !std::mem::replace(&mut self.is_outage, true) {
            self.add(at, Event::OutageBegan(kind));
        }
    }

    /// Records that a connection was opened.
    pub(crate) fn opened(&mut self, at: u64) {
        if std::mem::take(&mut self.is_outage) {
            self.add(at, Event::OutageEnded);
        }
    }

    /// Returns the events, the oldest first.
    pub(crate) fn read(&self) -> Vec<(u64, Event)> {
        self.last.iter().cloned().collect()
    }

    /// Returns the events within the same sample of the hour as this time, the newest first.
    fn within(&mut self, at: u64) -> impl Iterator<Item = &mut Event> {
        let began = at - at % LENGTH;
        let last = self.last.iter_mut().rev();
        last.take_while(move |(at, _)| *at >= began)
            .map(|(_, event)| event)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::clock::SECOND;

    fn read(events: &Events) -> Vec<String> {
        let read = events.read().into_iter();
        read.map(|(at, event)| format!("{} {event:?}", at / SECOND))
            .collect()
    }

    #[test]
    fn timeouts_of_a_sample_are_one_event() {
        let mut seen = Events::default();
        for at in [0, 1, 4, 5, 12] {
            seen.timed_out(at * SECOND);
            seen.add(at * SECOND, Event::Suspended);
        }
        let mut timeouts = read(&seen);
        timeouts.retain(|event| !event.contains("Suspended"));
        assert_eq!(
            timeouts,
            ["0 TimedOut(3)", "5 TimedOut(1)", "12 TimedOut(1)"]
        );
    }

    #[test]
    fn an_outage_begins_and_ends_once() {
        let mut seen = Events::default();
        let kind = ConnectErrorKind::Unreachable;
        seen.opened(0);
        seen.outage(SECOND, kind);
        seen.outage(2 * SECOND, kind);
        seen.opened(3 * SECOND);
        seen.opened(4 * SECOND);
        assert_eq!(read(&seen), ["1 OutageBegan(Unreachable)", "3 OutageEnded"]);
    }

    #[test]
    fn the_number_of_events_is_bounded() {
        let mut seen = Events::default();
        for at in 0..10_000 {
            seen.add(at, Event::Resumed);
        }
        let read = seen.read();
        assert_eq!((read.len(), read[KEPT - 1].0), (KEPT, 9999));
    }
}
