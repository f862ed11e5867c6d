//! Whether a session is still of use: the invalidating errors, and whether it is read-only.

use std::sync::atomic::{AtomicU8, AtomicU32, Ordering::Relaxed};

use super::parameter_status::ReadOnlyParameter;
use crate::backend::Errors;

/// What a session has reported about its own use. Only the reader of the connection writes it, except
/// for [`take_errors`](Self::take_errors).
#[derive(Debug, Default)]
pub(super) struct Validity {
    /// The errors on commands outside a transaction, and those in one.
    outside: AtomicU32,
    inside: AtomicU32,
    /// For each parameter two bits: whether it is known, and whether it is on.
    parameters: AtomicU8,
}

const KNOWN: u8 = 0b0101;

impl Validity {
    /// Records errors of a command, after which the session was in a transaction or not.
    pub(super) fn add(&self, errors: Errors, in_transaction: bool) {
        if errors.is_empty() {
            return;
        }
        match in_transaction {
            true => self.inside.fetch_or(errors.0, Relaxed),
            false => self.outside.fetch_or(errors.0, Relaxed),
        };
    }

    pub(super) fn set(&self, parameter: ReadOnlyParameter, on: bool) {
        let shift = match parameter {
            ReadOnlyParameter::Default => 0,
            ReadOnlyParameter::Standby => 2,
        };
        let others = self.parameters.load(Relaxed) & !(0b11 << shift);
        let bits = 0b01 | u8::from(on) << 1;
        self.parameters.store(others | bits << shift, Relaxed);
    }

    /// Returns whether the session's transactions are read-only unless they say otherwise. `None`
    /// before Postgres 14, and behind a pooler that does not pass the parameters on.
    pub(super) fn read_only(&self) -> Option<bool> {
        let bits = self.parameters.load(Relaxed);
        (bits & KNOWN != 0).then_some(bits & (KNOWN << 1) != 0)
    }

    /// Returns whether there are errors to take.
    pub(super) fn has_errors(&self) -> bool {
        self.outside.load(Relaxed) | self.inside.load(Relaxed) != 0
    }

    /// Returns the errors since the last call that invalidate the session. A transaction that was
    /// opened read-only in a session that is not does not invalidate it. Outside a transaction, the
    /// error is believed and not the parameter, because a pooler may have reported another session's.
    pub(super) fn take_errors(&self) -> Errors {
        if !self.has_errors() {
            return Errors::NONE;
        }
        let outside = self.outside.swap(0, Relaxed);
        let inside = Errors(self.inside.swap(0, Relaxed));
        let inside = match self.read_only() {
            Some(true) => inside,
            _ => inside.without_read_only(),
        };
        Errors(outside | inside.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_read_only_transaction_does_not_invalidate_a_session_that_can_write() {
        let error = Errors::of_postgres(*b"25006", b"PreventCommandIfReadOnly", b"");
        let stale = Errors::of_postgres(*b"26000", b"FetchPreparedStatement", b"");
        let validity = Validity::default();
        assert_eq!(validity.read_only(), None);
        validity.add(error, true);
        assert_eq!(validity.take_errors(), Errors::NONE);
        validity.add(error, false);
        assert_eq!(validity.take_errors(), error);
        assert_eq!(validity.take_errors(), Errors::NONE, "taken");

        validity.set(ReadOnlyParameter::Default, false);
        validity.set(ReadOnlyParameter::Standby, false);
        assert_eq!(validity.read_only(), Some(false));
        validity.add(error, true);
        validity.add(stale, true);
        assert_eq!(validity.take_errors(), stale);

        validity.set(ReadOnlyParameter::Default, true);
        assert_eq!(validity.read_only(), Some(true));
        validity.add(error, true);
        assert_eq!(validity.take_errors(), error);
        validity.set(ReadOnlyParameter::Default, false);
        validity.set(ReadOnlyParameter::Standby, true);
        assert_eq!(validity.read_only(), Some(true));
    }
}
