//! A request that waits for the end of an outage.

use super::{BreakerState, CircuitBreaker};

/// A waiting request. Counts until it leaves. A connection that was handed over stays available while
/// any request waits.
pub(super) struct Listener<'a, T> {
    breaker: &'a CircuitBreaker<T>,
    left: bool,
}

impl<'a, T> Listener<'a, T> {
    pub(super) fn new(breaker: &'a CircuitBreaker<T>) -> Self {
        breaker.state().waiting += 1;
        Self {
            breaker,
            left: false,
        }
    }

    pub(super) fn leave(&mut self, state: &mut BreakerState<T>) {
        state.waiting -= 1;
        self.left = true;
    }
}

impl<T> Drop for Listener<'_, T> {
    fn drop(&mut self) {
        if self.left {
            return;
        }
        let abandoned = {
            let mut state = self.breaker.state();
            state.waiting -= 1;
            match state.waiting {
                0 => state.opened.take(),
                _ => None,
            }
        };
        drop(abandoned);
    }
}
