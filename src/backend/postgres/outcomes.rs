//! Stores the outcome of the latest commands: the error, and the number of rows.
//!
//! Outcomes are stored by command number and not as a difference of totals. In a pipeline, or after
//! a stream that was dropped, the responses to several commands arrive one after another, often in
//! one packet.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// The number of commands remembered. More are rarely in progress at the same time.
const REMEMBERED: u64 = 64;
const KNOWN: u64 = 1 << 63;

/// One slot per command. Only the reader of the connection writes them.
#[derive(Debug)]
pub(super) struct Outcomes {
    /// The SQLSTATE of each command, encoded by [`word_of`].
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
    /// Clears the slots of the commands after `before`, up to and including `sent`.
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

    /// Returns the SQLSTATE and the rows of a command; `sent` is the number of the last command.
    ///
    /// `None` if the command was not sent yet, or is too old to be remembered.
    pub(super) fn read(&self, number: u64, sent: u64) -> Option<(Option<[u8; 5]>, u64)> {
        if number == 0 || number > sent || sent - number >= REMEMBERED {
            return None;
        }
        let error = code_in(slot(&self.errors, number).load(Relaxed));
        Some((error, slot(&self.rows, number).load(Relaxed)))
    }
}

/// Encodes an SQLSTATE in one word, for an atomic: [`KNOWN`] and its five characters. Zero means
/// none.
pub(super) fn word_of([a, b, c, d, e]: [u8; 5]) -> u64 {
    KNOWN | u64::from_be_bytes([0, 0, 0, a, b, c, d, e])
}

/// Decodes the SQLSTATE of a word made by [`word_of`]; `None` if there is none.
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
    fn each_command_has_its_own_outcome() {
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
        assert_eq!(outcomes.read(2, 70), None, "no longer remembered");
        assert_eq!(
            outcomes.read(66, 70),
            Some((None, 0)),
            "a newer command has taken the slot"
        );
    }
}
