//! Reads the fields of an `ErrorResponse` that concern the connection.

use super::server_errors::TextHash;
use crate::backend::{Errors, KNOWN_TEXT};

/// Finds the SQLSTATE, the severity, the server's function and the text in the fields of an error, which may
/// arrive in pieces.
#[derive(Debug, Default)]
pub(super) struct ErrorFields {
    sqlstate: Option<[u8; 5]>,
    fatal: bool,
    text_hash: TextHash,
    ended: bool,
    /// The type of the current field.
    field: Option<u8>,
    /// The beginning of the current field's text.
    text: Beginning,
    message: Beginning,
    routine: Beginning,
}

/// The beginning of a text.
#[derive(Debug, Clone, Copy)]
struct Beginning {
    bytes: [u8; KNOWN_TEXT],
    filled: usize,
}

impl Default for Beginning {
    fn default() -> Self {
        Self {
            bytes: [0; KNOWN_TEXT],
            filled: 0,
        }
    }
}

impl Beginning {
    fn push(&mut self, letter: u8) {
        if let Some(place) = self.bytes.get_mut(self.filled) {
            *place = letter;
            self.filled += 1;
        }
    }

    fn known(&self) -> &[u8] {
        &self.bytes[..self.filled]
    }
}

impl ErrorFields {
    /// Returns whether all fields were read.
    pub(super) fn ended(&self) -> bool {
        self.ended
    }

    /// Returns the code of the error, if it has exactly five characters.
    pub(super) fn sqlstate(&self) -> Option<[u8; 5]> {
        self.sqlstate
    }

    /// Returns whether the server closes the connection because of this error.
    pub(super) fn is_fatal(&self) -> bool {
        self.fatal
    }

    /// Returns the hash of the primary text.
    pub(super) fn text_hash(&self) -> TextHash {
        self.text_hash
    }

    /// Returns the invalidating error that this is, if it is one.
    pub(super) fn invalidating(&self) -> Errors {
        let of = |code| Errors::of_postgres(code, self.routine.known(), self.message.known());
        self.sqlstate.map_or(Errors::NONE, of)
    }

    /// Reads a piece of the body.
    pub(super) fn read(&mut self, piece: &[u8]) {
        for &byte in piece {
            if self.ended {
                return;
            }
            match (self.field, byte) {
                (None, 0) => self.ended = true,
                (None, kind) => (self.field, self.text.filled) = (Some(kind), 0),
                (Some(kind), 0) => {
                    self.end_field(kind);
                    self.field = None;
                }
                (Some(kind), letter) => {
                    if kind == b'M' {
                        self.text_hash.push(letter);
                    }
                    self.text.push(letter);
                }
            }
        }
    }

    fn end_field(&mut self, kind: u8) {
        match (kind, self.text.known()) {
            // `V` is `S` without translation. Servers before 9.6 and some poolers send only `S`.
            (b'V' | b'S', b"FATAL" | b"PANIC") => self.fatal = true,
            (b'C', &[a, b, c, d, e]) => self.sqlstate = Some([a, b, c, d, e]),
            (b'M', _) => self.message = self.text,
            (b'R', _) => self.routine = self.text,
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_code_and_the_severity_are_found_in_pieces_of_any_size() {
        let body = b"SFATAL\0VFATAL\0C57P01\0Mterminating connection\0\0not read any more";
        for size in 1..body.len() {
            let mut fields = ErrorFields::default();
            body.chunks(size).for_each(|piece| fields.read(piece));
            assert!(fields.ended() && fields.is_fatal(), "{size}");
            assert_eq!(fields.sqlstate(), Some(*b"57P01"));
        }
    }

    #[test]
    fn an_invalidating_error_is_known_by_its_function_in_any_language() {
        let body = "SFEHLER\0VERROR\0C0A000\0Mzwischengespeicherter Plan darf den Ergebnistyp nicht \
             ändern\0Fplancache.c\0L719\0RRevalidateCachedQuery\0\0";
        for size in 1..body.len() {
            let mut fields = ErrorFields::default();
            let pieces = body.as_bytes().chunks(size);
            pieces.for_each(|piece| fields.read(piece));
            let found = fields.invalidating();
            let codes: Vec<_> = found.iter().map(|error| error.code).collect();
            assert_eq!(codes, ["0A000"], "{size}");
        }
        let mut fields = ErrorFields::default();
        fields.read(b"VERROR\0C0A000\0RtransformLimitClause\0\0");
        assert_eq!(fields.invalidating(), Errors::NONE);
    }

    #[test]
    fn an_error_ends_at_its_last_byte() {
        let mut fields = ErrorFields::default();
        fields.read(b"SERROR\0C23505\0");
        assert!(!fields.ended());
        fields.read(b"\0");
        assert!(fields.ended() && !fields.is_fatal());
    }
}
