//! How much was lost, in words.

use std::fmt;

use crate::exports::{Exports, Signal};

const SIGNALS: [Signal; 3] = [Signal::Traces, Signal::Metrics, Signal::Logs];

/// Items lost, by signal.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Losses([u64; 3]);

impl Losses {
    pub(super) fn new(spans: u64, data_points: u64, log_records: u64) -> Self {
        Self([spans, data_points, log_records])
    }

    /// Since the start.
    pub(super) fn of(exports: &Exports) -> Self {
        let signals = [&exports.traces, &exports.metrics, &exports.logs];
        Self(signals.map(|signal| signal.failed + signal.dropped))
    }

    pub(super) fn since(self, before: &Self) -> Self {
        let mut since = self;
        for (lost, before) in since.0.iter_mut().zip(before.0) {
            *lost = lost.saturating_sub(before);
        }
        since
    }

    /// Since what each signal had lost at a moment of its own; nothing of those without one.
    pub(super) fn since_those(self, before: [Option<u64>; 3]) -> Self {
        let mut lost = self.0;
        for (lost, before) in lost.iter_mut().zip(before) {
            *lost = before.map_or(0, |before| lost.saturating_sub(before));
        }
        Self(lost)
    }

    pub(super) fn get(&self, signal: Signal) -> u64 {
        self.0[signal as usize]
    }

    pub(super) fn is_none(&self) -> bool {
        self.0 == [0; 3]
    }
}

impl fmt::Display for Losses {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_none() {
            return f.write_str("nothing");
        }
        let lost = SIGNALS.map(|signal| (self.get(signal), signal.items()));
        let lost = lost.iter().filter(|(lost, _)| *lost > 0);
        for (at, (lost, items)) in lost.enumerate() {
            let comma = if at == 0 { "" } else { ", " };
            // "1 spans" would be a small mistake in a place where it is read often.
            let items = if *lost == 1 {
                &items[..items.len() - 1]
            } else {
                items
            };
            write!(f, "{comma}{lost} {items}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_for_what_was_lost() {
        assert_eq!(Losses::default().to_string(), "nothing");
        assert_eq!(Losses([1, 0, 0]).to_string(), "1 span");
        assert_eq!(Losses([0, 2, 1]).to_string(), "2 data points, 1 log record");
        assert_eq!(
            Losses([3, 2, 1]).since(&Losses([1, 2, 0])),
            Losses([2, 0, 1])
        );
        assert_eq!(
            Losses([3, 2, 1]).since_those([Some(1), None, Some(2)]),
            Losses([2, 0, 0])
        );
    }
}
