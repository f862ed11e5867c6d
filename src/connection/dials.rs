//! The dials under way, and which checkout a failed one is news to.

use std::sync::{Arc, Mutex, PoisonError};

use super::board::Board;
use super::counter::Counter;
use crate::backend::{ConnectError, ConnectErrorKind};

/// bb8 tells a failed dial here, once it has taken it off its own count: a checkout that was told
/// earlier could come back and be made to wait for a dial that is over.
#[derive(Debug, Clone)]
pub(super) struct Dials {
    board: Arc<Board>,
    counter: Arc<Counter>,
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    under_way: u32,
    /// Refusals for want of a slot, kept while another dial may still succeed: its connection will
    /// come back, and is worth waiting for.
    deferred: Vec<ConnectError>,
}

impl Dials {
    pub(super) fn new(board: Arc<Board>, counter: Arc<Counter>) -> Self {
        Self {
            board,
            counter,
            state: Arc::default(),
        }
    }

    pub(super) fn begun(&self) {
        self.state().under_way += 1;
    }

    pub(super) fn succeeded(&self) {
        let mut state = self.state();
        state.under_way = state.under_way.saturating_sub(1);
        state.deferred.clear();
    }

    fn failed(&self, error: ConnectError) {
        let mut state = self.state();
        state.under_way = state.under_way.saturating_sub(1);
        let (open, _) = self.counter.read();
        let full = error.kind() == ConnectErrorKind::TooManyConnections;
        if full && open > 0 {
            return;
        }
        if full && state.under_way > 0 {
            state.deferred.push(error);
            return;
        }
        if state.under_way == 0 {
            state
                .deferred
                .drain(..)
                .for_each(|deferred| self.board.fail(deferred));
        }
        self.board.fail(error);
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl bb8::ErrorSink<ConnectError> for Dials {
    fn sink(&self, error: ConnectError) {
        self.failed(error);
    }

    fn boxed_clone(&self) -> Box<dyn bb8::ErrorSink<ConnectError>> {
        Box::new(self.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bb8::ErrorSink;

    fn dials() -> Dials {
        Dials::new(Arc::default(), Arc::default())
    }

    fn full() -> ConnectError {
        ConnectError::new(
            ConnectErrorKind::TooManyConnections,
            "too many clients",
            None,
        )
    }

    #[test]
    fn a_full_server_is_no_news_while_a_connection_will_come_back() {
        let dials = dials();
        let _open = dials.counter.open();
        dials.begun();
        dials.sink(full());
        assert_eq!(dials.board.failures(), 0);
    }

    #[test]
    fn a_full_server_is_news_once_no_other_dial_can_succeed() {
        let dials = dials();
        (0..3).for_each(|_| dials.begun());
        dials.sink(full());
        dials.sink(full());
        assert_eq!(dials.board.failures(), 0);
        dials.sink(full());
        assert_eq!(dials.board.failures(), 3);
        (0..2).for_each(|_| dials.begun());
        dials.sink(full());
        let _open = dials.counter.open();
        dials.succeeded();
        assert_eq!(
            (dials.board.failures(), dials.state().deferred.len()),
            (3, 0)
        );
    }

    #[test]
    fn another_failure_is_news_at_once() {
        let dials = dials();
        (0..2).for_each(|_| dials.begun());
        dials.sink(ConnectError::new(
            ConnectErrorKind::Authentication,
            "no",
            None,
        ));
        assert_eq!(dials.board.failures(), 1);
    }
}
