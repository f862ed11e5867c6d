//! How many answers the server still owes: commands sent less `ReadyForQuery` received.
//!
//! It would be a plain difference, but for `COPY … FROM STDIN` in the extended protocol: the client
//! sends `Bind Execute Sync`, the server answers `CopyInResponse` and from then on *ignores* every
//! `Sync` until the client ends the copy, also one that was under way already. So two `Sync`s get
//! one `ReadyForQuery`, and a plain difference would call the connection busy for ever after.

/// The numbers of the commands sent and answered, the first being 1.
///
/// A copy may be ended, and more commands sent, before the server's `CopyInResponse` is seen. So
/// that it can be told then which `Sync`s were ignored, two facts are kept about each of the last
/// 64 commands.
#[derive(Debug, Default)]
pub(super) struct Commands {
    sent: u64,
    answered: u64,
    /// Messages of a command were sent whose `Sync` was not; they count as a command already, since
    /// the server starts on them at once.
    open: bool,
    /// Commands whose copy, if they are one, ends before their `Sync`, and those that have none:
    /// `Query`.
    whole: Marks,
    /// Commands whose `Sync` is followed by a copy's end.
    ended: Marks,
    copy: Copy,
}

/// A mark on each of the last 64 numbers.
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

/// Where a copy to the server stands whose command had its `Sync` before the copy's data.
#[derive(Debug, Default, PartialEq)]
enum Copy {
    #[default]
    None,
    /// The server takes data, and ignores `Sync`.
    Data,
    /// The client has said that this is all; the next `Sync` belongs to the command that was
    /// counted already.
    Ended,
}

/// The server answered when nothing was asked of it.
#[derive(Debug)]
pub(super) struct Unasked;

impl Commands {
    /// The numbers of the last command sent and of the last one answered.
    pub(super) fn numbers(&self) -> (u64, u64) {
        (self.sent, self.answered)
    }

    /// The start-up packet was sent.
    pub(super) fn startup(&mut self) {
        self.begin();
    }

    /// A message was sent that is a part of a command: `Parse`, `Bind`, `Describe`, `Execute` or
    /// `Close`.
    pub(super) fn part(&mut self) {
        if !self.open {
            self.begin();
            self.open = true;
        }
    }

    /// A message was sent that is a command by itself: `Query` or `FunctionCall`.
    pub(super) fn query(&mut self) {
        self.part();
        self.open = false;
        self.whole.set(self.sent, true);
    }

    /// `Sync` was sent, the end of a command.
    pub(super) fn sync(&mut self) {
        match self.copy {
            Copy::Data => {}
            Copy::Ended => self.copy = Copy::None,
            Copy::None => self.part(),
        }
        self.open = false;
    }

    /// `CopyDone` or `CopyFail` was sent, possibly before it was known that the server wanted any
    /// data.
    pub(super) fn copy_ended(&mut self) {
        if self.copy == Copy::Data {
            self.copy = Copy::Ended;
        } else if self.open {
            self.whole.set(self.sent, true);
        } else {
            self.ended.set(self.sent, true);
        }
    }

    /// The server began to take data, on behalf of the oldest command that is not answered.
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
            // The `Sync` after the copy's end was sent too, and will be answered in place of those
            // before the end.
            Some(number) if number < self.sent => self.answered = number,
            Some(_) => (self.copy, self.answered) = (Copy::Ended, self.sent - 1),
            None => (self.copy, self.answered) = (Copy::Data, self.sent - 1),
        }
        Ok(())
    }

    /// `ReadyForQuery` was received.
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
