//! Counts the outstanding responses: commands sent minus `ReadyForQuery` received.
//!
//! This would be a plain difference, except for `COPY … FROM STDIN` in the extended protocol. The
//! client sends `Bind Execute Sync` and the server responds with `CopyInResponse`. From then on the
//! server *ignores* every `Sync` until the client ends the copy, including a `Sync` that was
//! already in transit. Two `Sync`s then get one `ReadyForQuery`, and a plain difference would count
//! the connection as busy forever.

/// The numbers of the commands sent and answered. The first command has the number 1.
///
/// The client may end a copy and send more commands before the server's `CopyInResponse` is seen.
/// Two bits for each of the last 64 commands make it possible to determine afterwards which `Sync`s
/// the server ignored.
#[derive(Debug, Default)]
pub(super) struct Commands {
    sent: u64,
    answered: u64,
    /// Whether messages of a command were sent without their `Sync` so far. They already count as a
    /// command, because the server starts to execute them immediately.
    open: bool,
    /// The commands whose copy, if any, ends before their `Sync`, and the commands without a `Sync`
    /// (`Query`).
    whole: Marks,
    /// The commands whose `Sync` is followed by the end of a copy.
    ended: Marks,
    copy: Copy,
}

/// One bit for each of the last 64 command numbers.
#[derive(Debug, Default)]
struct Marks(u64);

impl Marks {
    fn set(&mut self, number: u64, marked: bool) {
        let bit = 1 << (number % 64);
        self.0 = if marked { self.0 | bit } else { self.0 & !bit };
    }

    fn has(&self, number: u64) -> bool {
        self.0 & 1 << (number % 64) != 0
    }
}

/// The state of a copy to the server whose command sent its `Sync` before the data.
#[derive(Debug, Default, PartialEq)]
enum Copy {
    #[default]
    None,
    /// The server accepts data and ignores `Sync`.
    Data,
    /// The client has ended the copy. The next `Sync` belongs to the command already counted.
    Ended,
}

/// The error of a response without an outstanding command.
#[derive(Debug)]
pub(super) struct Unasked;

impl Commands {
    /// Returns the numbers of the last command sent and of the last command answered.
    pub(super) fn numbers(&self) -> (u64, u64) {
        (self.sent, self.answered)
    }

    /// Records that the startup packet was sent.
    pub(super) fn startup(&mut self) {
        self.begin();
    }

    /// Records that a message was sent that is part of a command: `Parse`, `Bind`, `Describe`,
    /// `Execute` or `Close`.
    pub(super) fn part(&mut self) {
        if !self.open {
            self.begin();
            self.open = true;
        }
    }

    /// Records that a message was sent that is a complete command: `Query` or `FunctionCall`.
    pub(super) fn query(&mut self) {
        self.part();
        self.open = false;
        self.whole.set(self.sent, true);
    }

    /// Records that `Sync` was sent, the end of a command.
    pub(super) fn sync(&mut self) {
        match self.copy {
            Copy::Data => {}
            Copy::Ended => self.copy = Copy::None,
            Copy::None => self.part(),
        }
        self.open = false;
    }

    /// Records that `CopyDone` or `CopyFail` was sent, possibly before `CopyInResponse` was seen.
    pub(super) fn copy_ended(&mut self) {
        if self.copy == Copy::Data {
            self.copy = Copy::Ended;
        } else if self.open {
            self.whole.set(self.sent, true);
        } else {
            self.ended.set(self.sent, true);
        }
    }

    /// Records that `CopyInResponse` was received: the server accepts data for the oldest
    /// outstanding command.
    pub(super) fn copy_began(&mut self) -> Result<(), Unasked> {
        if self.answered == self.sent {
            return Err(Unasked);
        }
        let current = self.answered + 1;
        if self.whole.has(current) {
            return Ok(());
        }
        let mut unanswered = (current..=self.sent).take(64);
        let last_ignored = unanswered.find(|number| self.ended.has(*number));
        match last_ignored {
            // The `Sync` after the end of the copy was already sent. The server will answer it
            // instead of the earlier ones.
            Some(number) if number < self.sent => self.answered = number,
            Some(_) => (self.copy, self.answered) = (Copy::Ended, self.sent - 1),
            None => (self.copy, self.answered) = (Copy::Data, self.sent - 1),
        }
        Ok(())
    }

    /// Records that `ReadyForQuery` was received.
    pub(super) fn ready(&mut self) -> Result<(), Unasked> {
        if self.answered == self.sent {
            return Err(Unasked);
        }
        self.answered += 1;
        self.copy = Copy::None;
        Ok(())
    }

    fn begin(&mut self) {
        self.sent += 1;
        self.whole.set(self.sent, false);
        self.ended.set(self.sent, false);
    }
}

#[cfg(test)]
mod tests;
