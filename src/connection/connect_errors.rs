//! Delivers connect errors to waiting checkouts.
//!
//! bb8 connects in a task of its own and does not pass the error on, so a waiting checkout would
//! learn nothing before its timeout. Therefore each checkout that has to wait takes a ticket here, and
//! each failed connection attempt answers the oldest ticket.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::oneshot;

use crate::backend::ConnectError;

/// The number of unclaimed failures kept for checkouts that are about to take a ticket.
const KEPT: usize = 64;

#[derive(Debug, Default)]
pub(super) struct ConnectErrors {
    state: Mutex<ErrorsState>,
    /// Written under the lock and read without it, because each checkout reads it.
    failures: AtomicU64,
}

#[derive(Debug, Default)]
struct ErrorsState {
    tickets: VecDeque<oneshot::Sender<Failure>>,
    unclaimed: VecDeque<Failure>,
}

#[derive(Debug, Clone)]
struct Failure {
    number: u64,
    error: ConnectError,
}

impl ConnectErrors {
    fn state(&self) -> MutexGuard<'_, ErrorsState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns how many connection attempts have failed so far. A checkout reads it before it asks
    /// bb8, to distinguish its own failures from older ones.
    pub(super) fn failures(&self) -> u64 {
        self.failures.load(Ordering::Acquire)
    }

    /// Returns a ticket for a failure newer than `since`.
    pub(super) fn ticket(self: &Arc<Self>, since: u64) -> Ticket {
        let (sender, failure) = oneshot::channel();
        let mut state = self.state();
        match state
            .unclaimed
            .iter()
            .position(|failure| failure.number > since)
        {
            Some(index) => {
                if let Some(failure) = state.unclaimed.remove(index) {
                    let _ = sender.send(failure);
                }
            }
            None => state.tickets.push_back(sender),
        }
        Ticket {
            connect_errors: Arc::clone(self),
            failure,
        }
    }

    /// Delivers a failure to the oldest ticket whose checkout still waits.
    pub(super) fn fail(&self, error: ConnectError) {
        let mut state = self.state();
        let number = self.failures.fetch_add(1, Ordering::AcqRel) + 1;
        let failure = Failure { number, error };
        state.deliver(failure);
    }

    /// Delivers a failure to every checkout that waits.
    pub(super) fn fail_all(&self, error: &ConnectError) {
        let mut state = self.state();
        let number = self.failures.fetch_add(1, Ordering::AcqRel) + 1;
        for ticket in state.tickets.drain(..) {
            let error = error.clone();
            // One that has left needs no answer.
            let _ = ticket.send(Failure { number, error });
        }
    }
}

impl ErrorsState {
    fn deliver(&mut self, mut failure: Failure) {
        while let Some(ticket) = self.tickets.pop_front() {
            match ticket.send(failure) {
                Ok(()) => return,
                Err(undelivered) => failure = undelivered,
            }
        }
        if self.unclaimed.len() == KEPT {
            self.unclaimed.pop_front();
        }
        self.unclaimed.push_back(failure);
    }
}

/// One waiting checkout's claim to the next failure.
#[derive(Debug)]
pub(super) struct Ticket {
    connect_errors: Arc<ConnectErrors>,
    failure: oneshot::Receiver<Failure>,
}

impl Ticket {
    /// Waits for the failure that ends this checkout's wait.
    pub(super) async fn failed(&mut self) -> ConnectError {
        match (&mut self.failure).await {
            Ok(failure) => failure.error,
            Err(_) => std::future::pending().await,
        }
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.failure.close();
        // An answer that this checkout did not take goes to the next waiting checkout.
        let unused = self.failure.try_recv();
        let mut state = self.connect_errors.state();
        if let Ok(failure) = unused {
            state.deliver(failure);
        }
        // Remove the tickets of checkouts that got a connection.
        if state
            .tickets
            .front()
            .is_some_and(oneshot::Sender::is_closed)
            || state.tickets.len() > 64
        {
            state.tickets.retain(|ticket| !ticket.is_closed());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::ConnectErrorKind;
    use futures_util::FutureExt;

    fn error(text: &str) -> ConnectError {
        ConnectError::new(ConnectErrorKind::Other, text, None)
    }

    fn answer(ticket: &mut Ticket) -> Option<String> {
        ticket
            .failed()
            .now_or_never()
            .map(|error| error.to_string())
    }

    #[test]
    fn the_oldest_open_ticket_is_answered() {
        let connect_errors = Arc::new(ConnectErrors::default());
        let (gone, mut first, mut second) = (
            connect_errors.ticket(0),
            connect_errors.ticket(0),
            connect_errors.ticket(0),
        );
        drop(gone);
        connect_errors.fail(error("refused"));
        assert_eq!(answer(&mut first).as_deref(), Some("refused"));
        assert_eq!(answer(&mut second), None);
    }

    #[test]
    fn an_unused_answer_goes_to_the_next_ticket() {
        let connect_errors = Arc::new(ConnectErrors::default());
        let (first, mut second) = (connect_errors.ticket(0), connect_errors.ticket(0));
        connect_errors.fail(error("refused"));
        drop(first);
        assert_eq!(answer(&mut second).as_deref(), Some("refused"));
    }

    #[test]
    fn a_failure_before_the_ticket_counts_if_it_is_newer_than_the_request() {
        let connect_errors = Arc::new(ConnectErrors::default());
        connect_errors.fail(error("old"));
        let since = connect_errors.failures();
        assert_eq!(answer(&mut connect_errors.ticket(since)), None);
        connect_errors.fail(error("new"));
        assert_eq!(
            answer(&mut connect_errors.ticket(since)).as_deref(),
            Some("new")
        );
    }

    #[test]
    fn tickets_do_not_pile_up() {
        let connect_errors = Arc::new(ConnectErrors::default());
        let _waiting = connect_errors.ticket(0);
        (0..1000).for_each(|_| drop(connect_errors.ticket(0)));
        assert!(connect_errors.state().tickets.len() <= 65);
        (0..1000).for_each(|_| connect_errors.fail(error("unclaimed")));
        assert_eq!(connect_errors.state().unclaimed.len(), KEPT);
    }
}
