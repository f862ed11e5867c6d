//! The bodies of the server's messages that are read.

use super::super::error_fields::ErrorFields;
use super::super::parameter_status::ParameterStatus;
use super::Reader;
use super::header::Nonsense;

/// How the reader treats the body of the server's current message.
#[derive(Debug)]
pub(super) enum Inspect {
    Skip,
    /// `ReadyForQuery`: one byte, the state of the transaction.
    Ready,
    /// `BackendKeyData`: four bytes of process id, then the secret key.
    Key {
        process_id: u32,
        seen: u8,
    },
    /// `ErrorResponse`: fields of a type byte and a zero-terminated text.
    /// Boxed, because it is larger than all the rest, and rare.
    Error(Box<ErrorFields>),
    /// `ParameterStatus`: a name and a value, both zero-terminated.
    Parameter(ParameterStatus),
}

impl Reader {
    /// Reads a piece of a body that is not skipped.
    pub(super) fn look_into(&mut self, piece: &[u8]) -> Result<(), Nonsense> {
        match &mut self.inspect {
            Inspect::Skip => {}
            Inspect::Ready => {
                if let Some(&status) = piece.first() {
                    if !matches!(status, b'I' | b'T' | b'E') {
                        return Err(Nonsense);
                    }
                    self.publish_rows();
                    self.commands.ready().map_err(|_| Nonsense)?;
                    self.wire.set_transaction(status);
                    if !self.invalidating.is_empty() {
                        let errors = std::mem::take(&mut self.invalidating);
                        self.wire.add_invalidating(errors, status != b'I');
                    }
                    self.inspect = Inspect::Skip;
                }
            }
            Inspect::Key { process_id, seen } => {
                for &byte in piece.iter().take(usize::from(4 - *seen)) {
                    *process_id = *process_id << 8 | u32::from(byte);
                    *seen += 1;
                }
                if *seen == 4 {
                    self.wire.set_process_id(*process_id);
                    self.inspect = Inspect::Skip;
                }
            }
            Inspect::Parameter(status) => {
                status.read(piece);
                if let Some((parameter, on)) = status.read_only() {
                    self.wire.set_read_only(parameter, on);
                    self.inspect = Inspect::Skip;
                }
            }
            Inspect::Error(fields) => {
                fields.read(piece);
                if fields.ended() {
                    let (code, fatal) = (fields.sqlstate(), fields.is_fatal());
                    let text = fields.text_hash();
                    // The caller sees the error now, and may return the connection before the
                    // `ReadyForQuery`. Only that shows whether a read-only error ended a transaction.
                    let errors = fields.invalidating();
                    let known = match self.wire.read_only() {
                        Some(true) => errors,
                        _ => errors.without_read_only(),
                    };
                    self.wire.add_invalidating(known, false);
                    self.invalidating.0 |= errors.0 & !known.0;
                    self.inspect = Inspect::Skip;
                    self.wire.add_error(self.current(), code);
                    if let Some(code) = code {
                        self.wire.add_server_error(text, code, fatal);
                    }
                    if fatal {
                        // Publish first, so that callbacks of answered commands see the answer;
                        // closing then calls all the others.
                        self.publish();
                        self.wire.set_closed();
                    }
                }
            }
        }
        Ok(())
    }
}
