//! The database is down: what is known of it, and who waits for news.
//!
//! Declared by a dial that found nobody ([`ConnectError::is_absence`]), and over with the first that
//! succeeds. Meanwhile nobody dials but the [`prober`](super::prober); everybody else waits for a
//! verdict that is newer than their own question, and not for long.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, watch};
use tokio::time::{Instant, timeout_at};

use crate::backend::ConnectError;

/// How long anybody waits for a verdict.
pub(super) const PATIENCE: Duration = Duration::from_millis(500);

/// For how long a connection that came back well makes it worth waiting for others.
const TRUST: Duration = Duration::from_secs(1);

/// `T` is a connection just opened, which a probe hands to somebody who waits for one.
pub(super) struct Outage<T> {
    down: AtomicBool,
    state: Mutex<State<T>>,
    news: watch::Sender<()>,
    /// Wakes the prober when somebody begins to wait.
    demand: Notify,
}

struct State<T> {
    down: Option<Down>,
    /// How many outages there have been.
    number: u64,
    /// The database was found, and let nobody in; and when that dial began.
    refused: Option<(Instant, ConnectError)>,
    waiting: u32,
    opened: Option<T>,
}

#[derive(Debug)]
struct Down {
    since: Instant,
    cause: ConnectError,
    /// When the last dial began of which the failure is known.
    failed: Instant,
    /// When the last dial began.
    tried: Instant,
    /// When a connection last came back well.
    life: Instant,
}

/// What becomes of a dial that was asked for during an outage.
pub(super) enum Verdict<T> {
    /// There is no outage: go and dial.
    Up,
    /// A probe has opened this one.
    Opened(T),
    Failed(ConnectError),
}

impl Down {
    /// The failure that answers a question asked then: of a dial that began later, or, where dials
    /// hang, any.
    fn answer(&self, asked: Instant, now: Instant) -> Option<ConnectError> {
        (self.failed > asked || now >= self.patience_ends(asked)).then(|| self.error(now))
    }

    fn patience_ends(&self, asked: Instant) -> Instant {
        asked.max(self.since) + PATIENCE
    }

    fn error(&self, now: Instant) -> ConnectError {
        let ago = |at| now.saturating_duration_since(at);
        self.cause
            .clone()
            .during_outage(ago(self.since), ago(self.tried))
    }
}

impl<T> State<T> {
    /// What one is told who asked then; or until when to wait for it.
    fn verdict(&mut self, asked: Instant) -> Result<Verdict<T>, Instant> {
        if let Some(opened) = self.opened.take() {
            return Ok(Verdict::Opened(opened));
        }
        match (&self.down, &self.refused) {
            (Some(down), _) => match down.answer(asked, Instant::now()) {
                Some(error) => Ok(Verdict::Failed(error)),
                None => Err(down.patience_ends(asked)),
            },
            (None, Some((began, cause))) if *began > asked => Ok(Verdict::Failed(cause.clone())),
            (None, _) => Ok(Verdict::Up),
        }
    }
}

impl<T> Outage<T> {
    pub(super) fn new() -> Self {
        Self {
            down: AtomicBool::new(false),
            state: Mutex::new(State {
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

    fn state(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn is_down(&self) -> bool {
        self.down.load(Ordering::Acquire)
    }

    /// A dial that began then has found nobody. The number of the outage, if that is news: somebody
    /// has to probe it.
    pub(super) fn declare(&self, began: Instant, cause: &ConnectError) -> Option<u64> {
        let now = Instant::now();
        let mut state = self.state();
        if state.down.is_some() {
            return None;
        }
        state.number += 1;
        state.refused = None;
        state.down = Some(Down {
            since: now,
            cause: cause.clone(),
            failed: began,
            tried: began,
            life: now,
        });
        self.down.store(true, Ordering::Release);
        self.news.send_replace(());
        Some(state.number)
    }

    /// Whether this outage goes on, and somebody waits for its end.
    pub(super) fn goes_on(&self, number: u64) -> Option<bool> {
        let state = self.state();
        (state.number == number && state.down.is_some()).then_some(state.waiting > 0)
    }

    /// A probe begins.
    pub(super) fn tries(&self, now: Instant) {
        if let Some(down) = &mut self.state().down {
            down.tried = now;
        }
    }

    /// A probe that began then has found nobody.
    pub(super) fn failed(&self, began: Instant, cause: ConnectError) {
        if let Some(down) = &mut self.state().down {
            down.failed = down.failed.max(began);
            down.cause = cause;
        }
        self.news.send_replace(());
    }

    /// The database is back. What the probe has opened goes to one who waits; or comes back, if
    /// nobody does.
    pub(super) fn over(&self, opened: Option<T>) -> Option<T> {
        let mut state = self.state();
        self.end(&mut state);
        if state.waiting == 0 || state.opened.is_some() {
            return opened;
        }
        state.opened = opened;
        None
    }

    /// The database is back, and lets nobody in: a probe that began then was told so.
    pub(super) fn refused(&self, began: Instant, cause: ConnectError) {
        let mut state = self.state();
        state.refused = Some((began, cause));
        self.end(&mut state);
    }

    /// Nobody probes this outage any more.
    pub(super) fn abandon(&self, number: u64) {
        let mut state = self.state();
        if state.number == number {
            self.end(&mut state);
        }
    }

    fn end(&self, state: &mut State<T>) {
        state.down = None;
        self.down.store(false, Ordering::Release);
        self.news.send_replace(());
    }

    /// A connection has come back well.
    pub(super) fn life(&self) {
        if let Some(down) = &mut self.state().down {
            down.life = Instant::now();
        }
    }

    /// Whether connections that are out may be expected back. Always, while there is no outage.
    pub(super) fn shows_life(&self) -> bool {
        let state = self.state();
        state
            .down
            .as_ref()
            .is_none_or(|down| down.life.elapsed() < TRUST)
    }

    /// Resolves when an outage is declared; at once while there is one.
    pub(super) async fn declared(&self) {
        let mut news = self.news.subscribe();
        while !self.is_down() {
            // The sender is ours.
            let _ = news.changed().await;
        }
    }

    /// Resolves when one who asked then need not hope for a dial any longer; never, while there is
    /// no outage.
    pub(super) async fn hopeless(&self, asked: Instant) -> ConnectError {
        let mut news = self.news.subscribe();
        loop {
            let until = {
                let state = self.state();
                match &state.down {
                    None => None,
                    Some(down) => match down.answer(asked, Instant::now()) {
                        Some(error) => return error,
                        None => Some(down.patience_ends(asked)),
                    },
                }
            };
            match until {
                None => drop(news.changed().await),
                Some(until) => drop(timeout_at(until, news.changed()).await),
            }
        }
    }

    /// As [`hopeless`](Self::hopeless), by a dial in flight: it may still succeed, so what came
    /// before the outage has its patience.
    pub(super) async fn hopeless_in_flight(&self) -> ConnectError {
        loop {
            self.declared().await;
            let mut news = self.news.subscribe();
            let until = match &self.state().down {
                None => continue,
                Some(down) => down.since + PATIENCE,
            };
            while let Some(error) = self.error() {
                if timeout_at(until, news.changed()).await.is_err() {
                    return error;
                }
            }
        }
    }

    /// The cause, while there is an outage.
    fn error(&self) -> Option<ConnectError> {
        let state = self.state();
        state.down.as_ref().map(|down| down.error(Instant::now()))
    }

    /// What to do about a dial that is asked for now.
    pub(super) async fn verdict(&self) -> Verdict<T> {
        if !self.is_down() {
            return Verdict::Up;
        }
        let asked = Instant::now();
        let mut waiting = Waiting::new(self);
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
            waiting.outage.demand.notify_one();
            drop(timeout_at(until, news.changed()).await);
        }
    }

    /// Resolves when somebody begins to wait.
    pub(super) async fn demanded(&self) {
        self.demand.notified().await;
    }
}

/// Counts as waiting until it leaves. While anybody does, a connection that was handed over finds
/// its taker.
struct Waiting<'a, T> {
    outage: &'a Outage<T>,
    left: bool,
}

impl<'a, T> Waiting<'a, T> {
    fn new(outage: &'a Outage<T>) -> Self {
        outage.state().waiting += 1;
        Self {
            outage,
            left: false,
        }
    }

    fn leave(&mut self, state: &mut State<T>) {
        state.waiting -= 1;
        self.left = true;
    }
}

impl<T> Drop for Waiting<'_, T> {
    fn drop(&mut self) {
        if self.left {
            return;
        }
        let nobodys = {
            let mut state = self.outage.state();
            state.waiting -= 1;
            match state.waiting {
                0 => state.opened.take(),
                _ => None,
            }
        };
        drop(nobodys);
    }
}

impl<T> fmt::Debug for Outage<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Outage")
            .field("down", &self.state().down)
            .finish_non_exhaustive()
    }
}
