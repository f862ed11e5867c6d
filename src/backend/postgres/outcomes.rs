//! What the server answered to each of the last commands: whether it failed, and how many rows.
//!
//! By number, and not "what has come since": behind a stream that was given up, and in a pipeline,
//! answers to several commands come one after another, and often in one packet.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Commands remembered; more are hardly ever under way at once.
const REMEMBERED: u64 = 64;
const KNOWN: u64 = 1 << 63;

/// One slot a command. Written by the reader of the connection alone.
#[derive(Debug)]
pub(super) struct Outcomes {
    /// A SQLSTATE each, see [`word_of`].
    errors: [AtomicU64; REMEMBERED as usize],
    rows: [AtomicU64; REMEMBERED as usize],
}

impl Default for Outcomes {
    fn default() -> Self {
        Self {
            errors: [const { AtomicU64::new(0) }; REMEMBERED as usize],
            rows: [const { AtomicU64::new(0) }; REMEMBERED as usize],
        }
    }
}

impl Outcomes {
    /// Commands up to `sent` have begun, of which those up to `before` had.
    pub(super) fn begin(&self, before: u64, sent: u64) {
        for number in (before + 1..=sent).rev().take(REMEMBERED as usize) {
            slot(&self.errors, number).store(0, Relaxed);
            slot(&self.rows, number).store(0, Relaxed);
        }
    }

    pub(super) fn failed(&self, number: u64, code: [u8; 5]) {
        slot(&self.errors, number).store(word_of(code), Relaxed);
    }

    pub(super) fn add_rows(&self, number: u64, rows: u64) {
        let slot = slot(&self.rows, number);
        slot.store(slot.load(Relaxed) + rows, Relaxed);
    }

    /// The SQLSTATE and the rows of a command; `sent` is the last one.
    pub(super) fn read(&self, number: u64, sent: u64) -> Option<(Option<[u8; 5]>, u64)> {
        if number == 0 || number > sent || sent - number >= REMEMBERED {
            return None;
        }
        let error = code_in(slot(&self.errors, number).load(Relaxed));
        Some((error, slot(&self.rows, number).load(Relaxed)))
    }
}

/// A SQLSTATE in one word, for an atomic: [`KNOWN`] and its five characters. Zero is none.
pub(super) fn word_of([a, b, c, d, e]: [u8; 5]) -> u64 {
    KNOWN | u64::from_be_bytes([0, 0, 0, a, b, c, d, e])
}

/// The SQLSTATE in such a word, if there is one.
pub(super) fn code_in(word: u64) -> Option<[u8; 5]> {
    let [_, _, _, code @ ..] = word.to_be_bytes();
    (word & KNOWN != 0).then_some(code)
}

fn slot(of: &[AtomicU64; REMEMBERED as usize], number: u64) -> &AtomicU64 {
    &of[(number % REMEMBERED) as usize]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_command_has_its_own() {
        let outcomes = Outcomes::default();
        outcomes.begin(0, 3);
        outcomes.add_rows(1, 5);
        outcomes.failed(2, *b"23505");
        outcomes.add_rows(1, 1);
        assert_eq!(outcomes.read(1, 3), Some((None, 6)));
        assert_eq!(outcomes.read(2, 3), Some((Some(*b"23505"), 0)));
        assert_eq!(outcomes.read(3, 3), Some((None, 0)));
        assert_eq!((outcomes.read(0, 3), outcomes.read(4, 3)), (None, None));
        outcomes.begin(3, 70);
        assert_eq!(outcomes.read(2, 70), None, "forgotten");
        assert_eq!(
            outcomes.read(66, 70),
            Some((None, 0)),
            "a new one in its place"
        );
    }
}
