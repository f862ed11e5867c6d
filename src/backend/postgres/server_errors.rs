//! The errors of the server, by their text: diesel passes on an error's text and not its SQLSTATE.
//!
//! Which command an error belongs to is not always known: not in a pipeline, nor after a query that was
//! abandoned. Its text always leads to its code.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, PoisonError};

use super::outcomes::{code_in, word_of};

/// The number of different errors remembered.
const REMEMBERED: usize = 64;

/// The latest errors of one connection.
#[derive(Debug, Default)]
pub(super) struct ServerErrors {
    /// The hash of each text with its SQLSTATE, the latest last. Locked only when there is an error.
    by_text: Mutex<Vec<(u64, [u8; 5])>>,
    /// The SQLSTATE of the error that ended the session, encoded by [`word_of`].
    fatal: AtomicU64,
}

impl ServerErrors {
    pub(super) fn add(&self, text: TextHash, code: [u8; 5]) {
        let entry = (text.0, code);
        let mut all = self.by_text.lock().unwrap_or_else(PoisonError::into_inner);
        all.retain(|known| *known != entry);
        if all.len() == REMEMBERED {
            all.remove(0);
        }
        all.push(entry);
    }

    pub(super) fn end(&self, code: [u8; 5]) {
        self.fatal.store(word_of(code), Relaxed);
    }

    /// Returns the SQLSTATE of the latest error with this text.
    pub(super) fn code_of(&self, text: &str) -> Option<[u8; 5]> {
        let mut wanted = TextHash::default();
        text.bytes().for_each(|byte| wanted.push(byte));
        let all = self.by_text.lock().unwrap_or_else(PoisonError::into_inner);
        let found = all.iter().rfind(|(text, _)| *text == wanted.0);
        found.map(|(_, code)| *code)
    }

    /// Returns the SQLSTATE of the error that ended the session.
    pub(super) fn fatal(&self) -> Option<[u8; 5]> {
        code_in(self.fatal.load(Relaxed))
    }
}

/// The hash of a text that arrives byte by byte (FNV-1a).
#[derive(Debug, Clone, Copy)]
pub(super) struct TextHash(u64);

impl Default for TextHash {
    fn default() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }
}

impl TextHash {
    pub(super) fn push(&mut self, byte: u8) {
        self.0 = (self.0 ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str) -> TextHash {
        let mut hash = TextHash::default();
        text.bytes().for_each(|byte| hash.push(byte));
        hash
    }

    #[test]
    fn the_latest_errors_are_found_by_their_text() {
        let errors = ServerErrors::default();
        for number in 0..100 {
            errors.add(of(&format!("error {number}")), *b"23505");
            errors.add(of("often"), *b"40001");
        }
        assert_eq!(errors.code_of("often"), Some(*b"40001"));
        assert_eq!(errors.code_of("error 99"), Some(*b"23505"));
        assert_eq!(errors.code_of("error 1"), None, "no longer remembered");
        assert_eq!(errors.fatal(), None);
        errors.end(*b"57P01");
        assert_eq!(errors.fatal(), Some(*b"57P01"));
    }
}
