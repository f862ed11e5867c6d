//! The writer's side of a wire.

use std::sync::atomic::Ordering::Relaxed;

use super::super::outcomes::word_of;
use super::super::parameter_status::ReadOnlyParameter;
use super::super::server_errors::TextHash;
use super::{CLOSED, KNOWN, NOTIFIED, OFF, RUNNING, TRANSACTION_SHIFT, Wire};
use crate::backend::Errors;

/// The writer's side. Only the [`Reader`](super::super::reader::Reader) of this connection may call these
/// methods. They load and store instead of exchanging, which is correct and cheap with a single
/// writer.
impl Wire {
    pub(in crate::backend::postgres) fn set_process_id(&self, process_id: u32) {
        self.process_id
            .store(KNOWN | u64::from(process_id), Relaxed);
    }

    /// Records an error, and the command that it responds to.
    pub(in crate::backend::postgres) fn add_error(
        &self,
        command: Option<u64>,
        code: Option<[u8; 5]>,
    ) {
        if let (Some(command), Some(code)) = (command, code) {
            self.outcomes.failed(command, code);
        }
        if let Some(code) = code {
            self.sqlstate.store(word_of(code), Relaxed);
        }
    }

    /// Records the text of an error, and whether the session ends with it.
    pub(in crate::backend::postgres) fn add_server_error(
        &self,
        text: TextHash,
        code: [u8; 5],
        fatal: bool,
    ) {
        self.errors.add(text, code);
        if fatal {
            self.errors.end(code);
        }
    }

    /// Records invalidating errors, and whether they ended a transaction.
    pub(in crate::backend::postgres) fn add_invalidating(
        &self,
        errors: Errors,
        in_transaction: bool,
    ) {
        self.validity.add(errors, in_transaction);
    }

    /// Records the value of a parameter that makes transactions read-only.
    pub(in crate::backend::postgres) fn set_read_only(
        &self,
        parameter: ReadOnlyParameter,
        on: bool,
    ) {
        self.validity.set(parameter, on);
    }

    /// Records rows of a command.
    pub(in crate::backend::postgres) fn add_rows(&self, command: u64, rows: u64) {
        self.outcomes.add_rows(command, rows);
    }

    /// Publishes the numbers of the last command sent and of the last command answered. Starts or
    /// stops the working time when the outstanding commands leave or reach zero.
    pub(in crate::backend::postgres) fn set_commands(&self, sent: u64, answered: u64) {
        if !self.awaited.is_news(sent, answered) {
            return;
        }
        self.set_outstanding(u32::try_from(sent - answered).unwrap_or(u32::MAX));
        self.outcomes.begin(self.awaited.sent(), sent);
        self.awaited.set(sent, answered);
    }

    pub(super) fn set_outstanding(&self, outstanding: u32) {
        let state = self.state.load(Relaxed);
        match (state as u32, outstanding) {
            (0, 1..) => self.start_work(),
            (1.., 0) => self.stop_work(),
            _ => {}
        }
        self.state.store(
            state & !u64::from(u32::MAX) | u64::from(outstanding),
            Relaxed,
        );
    }

    /// Publishes the status byte of a `ReadyForQuery`.
    pub(in crate::backend::postgres) fn set_transaction(&self, status: u8) {
        let state = self.state.load(Relaxed) & !(0xff << TRANSACTION_SHIFT);
        self.state
            .store(state | u64::from(status) << TRANSACTION_SHIFT, Relaxed);
    }

    /// Records a notification. Returns whether the connection must be closed, because nobody would
    /// read the notifications and they would fill the memory.
    pub(in crate::backend::postgres) fn notified(&self) -> bool {
        let idle = self.idle.load(Relaxed);
        if idle {
            self.state
                .store(self.state.load(Relaxed) | NOTIFIED, Relaxed);
            self.set_closed();
        }
        idle
    }

    /// Records that a header was invalid, and turns the readings from headers off.
    pub(in crate::backend::postgres) fn set_off(&self) {
        self.state.store(self.state.load(Relaxed) | OFF, Relaxed);
        self.awaited.call_all();
    }

    /// Records that the connection is closed. Commands in progress end with it.
    pub(in crate::backend::postgres) fn set_closed(&self) {
        self.stop_work();
        self.state.store(self.state.load(Relaxed) | CLOSED, Relaxed);
        self.awaited.call_all();
    }

    pub(super) fn start_work(&self) {
        let work = self.work.load(Relaxed);
        if work & RUNNING == 0 && !self.is_closed() {
            self.work
                .store(RUNNING | self.now().saturating_sub(work), Relaxed);
        }
    }

    fn stop_work(&self) {
        let work = self.work.load(Relaxed);
        if work & RUNNING != 0 {
            self.work
                .store(self.now().saturating_sub(work & !RUNNING), Relaxed);
        }
    }
}
