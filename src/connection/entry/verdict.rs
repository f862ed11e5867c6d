//! Assesses a connection: whether it may be used again, and why not.

use diesel_async::TransactionManager;

use super::Entry;
use crate::backend::{Backend, Readings};
use crate::checkout::TransactionState;
use crate::connection::policy::ConnectionPolicy;
use crate::record::pool_events::CloseReason;

impl<C: Backend> Entry<C> {
    /// Assesses a returned connection. Returns why to close it, or `None` if it may be used again.
    pub(in crate::connection) fn judge(
        &mut self,
        policy: &ConnectionPolicy,
    ) -> Option<CloseReason> {
        self.state.queries.returned();
        if let Some(reason) = self.retired {
            return Some(reason);
        }
        // First, because a holder that panicked may have left any state, even a poisoned lock.
        if std::thread::panicking() {
            return Some(CloseReason::Broken);
        }
        if self.probing {
            return Some(CloseReason::PingFailed);
        }
        let seen = self.readings();
        if self.is_gone(&seen) {
            return Some(self.gone(policy));
        }
        // One that was lent is not returned like this, but closed when the server has ended its query.
        if self.state.queries.in_flight() > 0 {
            return Some(CloseReason::Broken);
        }
        if self.is_invalidated(&seen, policy) {
            return Some(CloseReason::Invalidated);
        }
        if self.connection_mut().is_broken() || !self.may_be_reused(&seen) {
            self.report_lost_work(policy);
            return Some(CloseReason::Broken);
        }
        if self.is_replaced(policy) {
            return Some(CloseReason::Invalidated);
        }
        policy.is_closed().then_some(CloseReason::Shutdown)
    }

    /// Reports that work is rolled back whose caller has seen `Ok`. A transaction whose future was
    /// dropped, by a timeout or a caught panic, stays open; one that is begun on the same connection
    /// after that is a savepoint inside it.
    fn report_lost_work(&self, policy: &ConnectionPolicy) {
        if self.state.queries.has_nested_commit() {
            let why = "it was returned inside a transaction that was dropped half-way; transactions \
                that succeeded inside it are rolled back";
            policy.notify(|observer| observer.closed_because(why, ""));
        }
    }

    /// Returns whether connections of this era are to be replaced.
    pub(in crate::connection) fn is_replaced(&self, policy: &ConnectionPolicy) -> bool {
        self.era != policy.era()
    }

    /// Returns whether an error has invalidated the connection since the last call. If the server has not
    /// answered completely, suspects the connection, so that it is asked again after a ping.
    pub(in crate::connection) fn is_invalidated(
        &mut self,
        seen: &Readings,
        policy: &ConnectionPolicy,
    ) -> bool {
        if !seen.is_invalidated && !self.state.queries.is_invalidated() {
            return false;
        }
        let (error, undecided) = self.state.take_invalidating();
        if undecided && self.readings().is_busy() {
            self.generation = u64::MAX;
        }
        error.is_some_and(|error| policy.invalidates(error, self.state.became_read_only()))
    }

    /// Returns whether the session can no longer write, although it could when it was opened. Asked of
    /// a suspect only.
    pub(in crate::connection) fn became_read_only(&self) -> bool {
        self.state.became_read_only()
    }

    /// Returns whether no transaction is open, as far as is known, or only diesel's test transaction,
    /// which a pool keeps open from test to test.
    pub(in crate::connection) fn may_be_reused(&mut self, seen: &Readings) -> bool {
        match self.state.transaction_seen(seen) {
            None | Some(TransactionState::Idle) => true,
            Some(TransactionState::Failed) => false,
            Some(TransactionState::Open) => self.is_in_test_transaction(),
        }
    }

    /// Returns whether diesel knows of a transaction and yet takes the connection for reusable. It does
    /// so only after `begin_test_transaction`.
    fn is_in_test_transaction(&mut self) -> bool {
        let connection = self.connection_mut();
        let status = C::TransactionManager::transaction_manager_status_mut(connection);
        matches!(status.transaction_depth(), Ok(Some(_))) && !connection.is_broken()
    }

    /// Returns whether the connection is known to be closed, without a round trip.
    pub(in crate::connection) fn is_gone(&self, seen: &Readings) -> bool {
        seen.is_closed || self.state.queries.connection_failed()
    }

    /// Returns why a connection that [is gone](Self::is_gone) is closed. If it has failed, so may have
    /// the others.
    #[cold]
    pub(in crate::connection) fn gone(&self, policy: &ConnectionPolicy) -> CloseReason {
        let session = self.state.session.as_ref();
        if session.is_some_and(|session| session.is_notified_while_idle()) {
            let why = "a notification arrived while nobody held it: LISTEN without UNLISTEN";
            policy.notify(|observer| observer.closed_because(why, ""));
            return CloseReason::Dirty;
        }
        policy.suspect_all();
        CloseReason::Broken
    }

    /// Returns whether nothing speaks against another use of the connection, without side effects.
    pub(in crate::connection) fn is_sound(&mut self) -> bool {
        let seen = self.readings();
        self.retired.is_none()
            && !self.probing
            && !std::thread::panicking()
            && !self.is_gone(&seen)
            && self.state.queries.in_flight() == 0
            && !matches!(
                self.state.transaction_seen(&seen),
                Some(TransactionState::Open | TransactionState::Failed)
            )
            && !self.registered.policy.is_closed()
            && !self.connection_mut().is_broken()
            && !self.is_in_test_transaction()
    }
}
