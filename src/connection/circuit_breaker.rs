//! The circuit breaker: the checkouts that wait for the end of an outage.
//!
//! An outage begins with a connection attempt that finds the database unreachable
//! ([`ConnectError::is_absence`]), and ends with the first attempt that succeeds. During an outage only
//! the [`prober`](super::prober) connects. All other requests wait, for a limited time, for a result
//! that is newer than themselves.

mod listener;

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, watch};
use tokio::time::{Instant, timeout_at};

use self::listener::Listener;
use super::outage::Outage;
use crate::backend::ConnectError;

/// The state of the circuit breaker. `T` is a connection that a probe has opened and hands to a
/// waiting request.
pub(super) struct CircuitBreaker<T> {
    down: AtomicBool,
    state: Mutex<BreakerState<T>>,
    news: watch::Sender<()>,
    /// Wakes the prober when a request begins to wait.
    demand: Notify,
}

struct BreakerState<T> {
    down: Option<Outage>,
    /// The number of outages so far.
    number: u64,
    /// The begin and the error of an attempt that reached the database and was refused.
    refused: Option<(Instant, ConnectError)>,
    waiting: u32,
    opened: Option<T>,
}

/// The answer to a request to connect during an outage.
pub(super) enum Verdict<T> {
    /// There is no outage: connect.
    Up,
    /// A probe has opened this connection.
    Opened(T),
    Failed(ConnectError),
}

impl<T> BreakerState<T> {
    /// Returns the verdict on a request made at `asked`.
    ///
    /// # Errors
    /// Returns the instant until which the request should wait, if there is no verdict yet.
    fn verdict(&mut self, asked: Instant) -> Result<Verdict<T>, Instant> {
        if let Some(opened) = self.opened.take() {
            return Ok(Verdict::Opened(opened));
        }
        match (&self.down, &self.refused) {
            (Some(outage), _) => outage.answer(asked).map(Verdict::Failed),
            (None, Some((began, cause))) if *began > asked => Ok(Verdict::Failed(cause.clone())),
            (None, _) => Ok(Verdict::Up),
        }
    }
}

impl<T> CircuitBreaker<T> {
    pub(super) fn new() -> Self {
        Self {
            down: AtomicBool::new(false),
            state: Mutex::new(BreakerState {
                down: None,
                number: 0,
                refused: None,
                waiting: 0,
                opened: None,
            }),
            news: watch::channel(()).0,
            demand: Notify::new(),
        }
    }

    fn state(&self) -> MutexGuard<'_, BreakerState<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn is_down(&self) -> bool {
        self.down.load(Ordering::Acquire)
    }

    /// Declares an outage, because an attempt that began at `began` found the database unreachable.
    /// Returns the number of the outage, which the caller must probe, or `None` if one is already
    /// declared.
    pub(super) fn declare(&self, began: Instant, cause: &ConnectError) -> Option<u64> {
        let mut state = self.state();
        if state.down.is_some() {
            return None;
        }
        state.number += 1;
        state.refused = None;
        state.down = Some(Outage::new(began, cause.clone()));
        self.down.store(true, Ordering::Release);
        self.news.send_replace(());
        Some(state.number)
    }

    /// Returns how long the database has been down; zero if there is no outage.
    pub(super) fn lasts(&self) -> Duration {
        let state = self.state();
        state.down.as_ref().map(Outage::lasts).unwrap_or_default()
    }

    /// Returns whether a request waits for the end of this outage, or `None` if the outage is over.
    pub(super) fn goes_on(&self, number: u64) -> Option<bool> {
        let state = self.state();
        (state.number == number && state.down.is_some()).then_some(state.waiting > 0)
    }

    /// Records the begin of a probe.
    pub(super) fn tries(&self, now: Instant) {
        if let Some(outage) = &mut self.state().down {
            outage.tries(now);
        }
    }

    /// Records that a probe that began at `began` found the database unreachable.
    pub(super) fn failed(&self, began: Instant, cause: ConnectError) {
        if let Some(outage) = &mut self.state().down {
            outage.failed(began, cause);
        }
        self.news.send_replace(());
    }

    /// Ends the outage. Hands the probe's connection to a waiting request, or returns it if none waits.
    pub(super) fn over(&self, opened: Option<T>) -> Option<T> {
        let mut state = self.state();
        self.end(&mut state);
        if state.waiting == 0 || state.opened.is_some() {
            return opened;
        }
        state.opened = opened;
        None
    }

    /// Ends the outage, because a probe that began at `began` reached the database and was refused.
    pub(super) fn refused(&self, began: Instant, cause: ConnectError) {
        let mut state = self.state();
        state.refused = Some((began, cause));
        self.end(&mut state);
    }

    /// Ends this outage, because its prober has stopped.
    pub(super) fn abandon(&self, number: u64) {
        let mut state = self.state();
        if state.number == number {
            self.end(&mut state);
        }
    }

    fn end(&self, state: &mut BreakerState<T>) {
        state.down = None;
        self.down.store(false, Ordering::Release);
        self.news.send_replace(());
    }

    /// Records that a healthy connection was returned.
    pub(super) fn life(&self) {
        if let Some(outage) = &mut self.state().down {
            outage.succeeded();
        }
    }

    /// Returns whether connections in use can be expected to be returned. Always true if there is no
    /// breaker.
    pub(super) fn shows_life(&self) -> bool {
        self.state().down.as_ref().is_none_or(Outage::shows_life)
    }

    /// Waits until an outage is declared. Returns at once during an outage.
    pub(super) async fn declared(&self) {
        let mut news = self.news.subscribe();
        while !self.is_down() {
            // Never fails: `self` owns the sender.
            let _ = news.changed().await;
        }
    }

    /// Waits until a request made at `asked` can no longer expect a connection, and returns why. Never
    /// resolves while there is no outage.
    pub(super) async fn give_up(&self, asked: Instant) -> ConnectError {
        let mut news = self.news.subscribe();
        loop {
            let until = {
                let state = self.state();
                match &state.down {
                    None => None,
                    Some(outage) => match outage.answer(asked) {
                        Ok(error) => return error,
                        Err(until) => Some(until),
                    },
                }
            };
            match until {
                None => drop(news.changed().await),
                Some(until) => drop(timeout_at(until, news.changed()).await),
            }
        }
    }

    /// Waits like [`give_up`](Self::give_up) on behalf of an attempt in flight. The attempt may still
    /// succeed, so it gets some time from the begin of the outage.
    pub(super) async fn hopeless_in_flight(&self) -> ConnectError {
        loop {
            self.declared().await;
            let mut news = self.news.subscribe();
            let until = match &self.state().down {
                None => continue,
                Some(outage) => outage.given_up_at(),
            };
            while let Some(error) = self.error() {
                if timeout_at(until, news.changed()).await.is_err() {
                    return error;
                }
            }
        }
    }

    /// Returns the cause of the current outage.
    fn error(&self) -> Option<ConnectError> {
        self.state().down.as_ref().map(Outage::error)
    }

    /// Waits for the verdict on a request to connect now.
    pub(super) async fn verdict(&self) -> Verdict<T> {
        if !self.is_down() {
            return Verdict::Up;
        }
        let asked = Instant::now();
        let mut waiting = Listener::new(self);
        let mut news = self.news.subscribe();
        loop {
            let until = {
                let mut state = self.state();
                match state.verdict(asked) {
                    Ok(verdict) => {
                        waiting.leave(&mut state);
                        return verdict;
                    }
                    Err(until) => until,
                }
            };
            self.demand.notify_one();
            drop(timeout_at(until, news.changed()).await);
        }
    }

    /// Waits until a request begins to wait.
    pub(super) async fn demanded(&self) {
        self.demand.notified().await;
    }
}

impl<T> fmt::Debug for CircuitBreaker<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CircuitBreaker")
            .field("down", &self.state().down)
            .finish_non_exhaustive()
    }
}
