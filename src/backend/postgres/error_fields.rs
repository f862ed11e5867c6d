//! Reads the fields of an `ErrorResponse` that concern the connection.

use super::server_errors::TextHash;

/// Finds the SQLSTATE, the severity and the text in the fields of an error, which may arrive in pieces.
#[derive(Debug, Default)]
pub(super) struct ErrorFields {
    sqlstate: Option<[u8; 5]>,
    fatal: bool,
    message: TextHash,
    ended: bool,
    /// The type of the current field.
    field: Option<u8>,
    /// The beginning of the field's text: one byte more than the longest text that is compared.
    text: [u8; 6],
    filled: usize,
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
    pub(super) fn message(&self) -> TextHash {
        self.message
    }

    /// Reads a piece of the body.
    pub(super) fn read(&mut self, piece: &[u8]) {
        for &byte in piece {
            if self.ended {
                return;
            }
            match (self.field, byte) {
                (None, 0) => self.ended = true,
                (None, kind) => (self.field, self.filled) = (Some(kind), 0),
                (Some(kind), 0) => {
                    self.end_field(kind);
                    self.field = None;
                }
                (Some(kind), letter) => {
                    if kind == b'M' {
                        self.message.push(letter);
                    }
                    if let Some(place) = self.text.get_mut(self.filled) {
                        *place = letter;
                        self.filled += 1;
                    }
                }
            }
        }
    }

    fn end_field(&mut self, kind: u8) {
        match (kind, &self.text[..self.filled]) {
            // `V` is `S` without translation. Servers before 9.6 and some poolers send only `S`.
            (b'V' | b'S', b"FATAL" | b"PANIC") => self.fatal = true,
            (b'C', &[a, b, c, d, e]) => self.sqlstate = Some([a, b, c, d, e]),
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
    fn an_error_ends_at_its_last_byte() {
        let mut fields = ErrorFields::default();
        fields.read(b"SERROR\0C23505\0");
        assert!(!fields.ended());
        fields.read(b"\0");
        assert!(fields.ended() && !fields.is_fatal());
    }
}
