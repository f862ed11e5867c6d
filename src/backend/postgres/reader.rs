//! Reads the message headers of one connection, in both directions.
//!
//! Each message has a type byte and a length (the client's first message has no type). The reader
//! skips all bodies except four small ones. It keeps only the current header, so a message may be
//! split anywhere, and a row of a gigabyte costs as little as a short one. The first invalid header
//! turns the reader off permanently.

mod header;
mod inspect;

use std::sync::Arc;

use self::header::{Header, LONGEST, LONGEST_SHORT, Nonsense, body_length, skip};
use self::inspect::Inspect;
use super::commands::Commands;
use super::parameter_status::ParameterStatus;
use super::wire::Wire;
use crate::backend::Errors;

/// The reader of one connection, and the only writer of its [`Wire`].
#[derive(Debug)]
pub(super) struct Reader {
    wire: Arc<Wire>,
    commands: Commands,
    client: Header,
    server: Header,
    started: bool,
    /// The remaining bytes in the body of the client's current message, and of the server's.
    client_body: u32,
    server_body: u32,
    inspect: Inspect,
    /// The rows of the current command that are not published yet.
    rows: u64,
    /// The invalidating errors that the next `ReadyForQuery` decides about.
    invalidating: Errors,
    off: bool,
    /// Whether the transport must be closed.
    refused: bool,
}

impl Reader {
    /// Creates a reader for a connection on which nothing was sent yet.
    pub(super) fn new(wire: Arc<Wire>) -> Self {
        Self {
            wire,
            commands: Commands::default(),
            client: Header::default(),
            server: Header::default(),
            started: false,
            client_body: 0,
            server_body: 0,
            inspect: Inspect::Skip,
            rows: 0,
            invalidating: Errors::NONE,
            off: false,
            refused: false,
        }
    }

    /// Returns whether the transport must be closed, because nobody is there for what the server sends.
    pub(super) fn refuses(&self) -> bool {
        self.refused
    }

    /// Reads bytes of the client that the transport has accepted.
    pub(super) fn sent(&mut self, bytes: &[u8]) {
        if self.off {
            return;
        }
        match self.walk_client(bytes) {
            Ok(()) => self.publish(),
            Err(Nonsense) => self.turn_off(),
        }
    }

    /// Reads bytes received from the server.
    pub(super) fn received(&mut self, bytes: &[u8]) {
        if self.off {
            return;
        }
        let walked = self.walk_server(bytes);
        self.publish_rows();
        match walked {
            Ok(()) => self.publish(),
            Err(Nonsense) => self.turn_off(),
        }
    }

    /// Records that either side has closed the connection.
    pub(super) fn closed(&mut self) {
        self.wire.set_closed();
    }

    /// Returns the command that the server currently responds to, if one is outstanding.
    fn current(&self) -> Option<u64> {
        let (sent, answered) = self.commands.numbers();
        (answered < sent).then_some(answered + 1)
    }

    fn publish_rows(&mut self) {
        let rows = std::mem::take(&mut self.rows);
        if let (1.., Some(command)) = (rows, self.current()) {
            self.wire.add_rows(command, rows);
        }
    }

    fn publish(&self) {
        let (sent, answered) = self.commands.numbers();
        self.wire.set_commands(sent, answered);
    }

    fn turn_off(&mut self) {
        self.off = true;
        self.wire.set_off();
    }

    fn walk_client(&mut self, mut bytes: &[u8]) -> Result<(), Nonsense> {
        loop {
            skip(&mut bytes, &mut self.client_body);
            if self.started {
                let Some([kind, length @ ..]) = self.client.take::<5>(&mut bytes) else {
                    return Ok(());
                };
                self.client_body = self.client_message(kind, u32::from_be_bytes(length))?;
            } else {
                let Some([a, b, c, d, code @ ..]) = self.client.take::<8>(&mut bytes) else {
                    return Ok(());
                };
                self.client_body =
                    self.startup(u32::from_be_bytes([a, b, c, d]), u32::from_be_bytes(code))?;
            }
        }
    }

    /// Reads the packet without a type: the start of a session, or a request to cancel a command of
    /// another session. Returns the remaining length.
    fn startup(&mut self, length: u32, code: u32) -> Result<u32, Nonsense> {
        const VERSION_3: u32 = 3;
        const CANCEL_REQUEST: u32 = 80_877_102;
        const LONGEST_STARTUP: u32 = 10_000;
        if !(8..=LONGEST_STARTUP).contains(&length)
            || code >> 16 != VERSION_3 && code != CANCEL_REQUEST
        {
            return Err(Nonsense);
        }
        self.started = true;
        self.commands.startup();
        Ok(length - 8)
    }

    /// Records a message from the client. Returns the length of its body.
    fn client_message(&mut self, kind: u8, length: u32) -> Result<u32, Nonsense> {
        let longest = match kind {
            b'S' | b'H' | b'c' | b'X' => 4,
            b'E' | b'C' | b'D' | b'f' => LONGEST_SHORT,
            // Passwords and tokens; a GSSAPI token may be long.
            b'p' => 1 << 17,
            b'Q' | b'P' | b'B' | b'F' | b'd' => LONGEST,
            _ => return Err(Nonsense),
        };
        let body = body_length(length, 0, longest)?;
        match kind {
            b'Q' | b'F' => self.commands.query(),
            b'P' | b'B' | b'D' | b'E' | b'C' => self.commands.part(),
            b'S' => self.commands.sync(),
            b'c' | b'f' => self.commands.copy_ended(),
            _ => {}
        }
        Ok(body)
    }

    fn walk_server(&mut self, mut bytes: &[u8]) -> Result<(), Nonsense> {
        loop {
            if !matches!(self.inspect, Inspect::Skip) {
                let here = bytes.len().min(self.server_body as usize);
                self.look_into(&bytes[..here])?;
            }
            skip(&mut bytes, &mut self.server_body);
            let Some([kind, length @ ..]) = self.server.take::<5>(&mut bytes) else {
                return Ok(());
            };
            self.server_body = self.server_message(kind, u32::from_be_bytes(length))?;
        }
    }

    /// Records the type of a message from the server, and decides how to treat its body. Returns
    /// the length of the body.
    fn server_message(&mut self, kind: u8, length: u32) -> Result<u32, Nonsense> {
        let (shortest, longest) = match kind {
            b'D' | b'd' | b'T' | b't' | b'V' | b'N' | b'A' => (0, LONGEST),
            b'1' | b'2' | b'3' | b'n' | b's' | b'I' | b'c' => (0, 4),
            b'C' | b'S' | b'R' | b'G' | b'H' | b'W' | b'v' => (0, LONGEST_SHORT),
            b'Z' => (1, 5),
            // A process id, and a key of four bytes or, since protocol 3.2, up to 256.
            b'K' => (8, 4 + 4 + 256),
            b'E' => (1, LONGEST),
            _ => return Err(Nonsense),
        };
        let body = body_length(length, shortest, longest)?;
        self.inspect = Inspect::Skip;
        match kind {
            b'D' => self.rows += 1,
            b'A' => self.refused |= self.wire.notified(),
            b'Z' => self.inspect = Inspect::Ready,
            b'K' => {
                self.inspect = Inspect::Key {
                    process_id: 0,
                    seen: 0,
                }
            }
            b'E' => self.inspect = Inspect::Error(Box::default()),
            b'S' => self.inspect = Inspect::Parameter(ParameterStatus::default()),
            b'G' => self.commands.copy_began().map_err(|_| Nonsense)?,
            _ => {}
        }
        Ok(body)
    }
}

#[cfg(test)]
pub(super) mod tests;
