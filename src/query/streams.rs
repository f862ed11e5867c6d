//! The queries whose first response diesel has seen, and whose end the server has not reported yet: streams
//! that are read, or that the caller has dropped.

use std::fmt;
use std::ops::RangeInclusive;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use tokio::time::Instant;

use super::failure::{by_code, lost};
use super::running::Running;
use crate::backend::{Outcome, Session};

/// The streams of one connection.
#[derive(Default)]
pub(super) struct Streams {
    /// Whether there may be one.
    any: AtomicBool,
    all: Mutex<Vec<Weak<Stream>>>,
}

/// A query that ends with the server's answer, or earlier if the caller gives it up.
pub(super) struct Stream {
    running: Mutex<Option<Running>>,
    session: Arc<dyn Session>,
    commands: RangeInclusive<u64>,
}

impl Streams {
    /// Ends a query when the server has answered its commands.
    pub(super) fn add(
        &self,
        running: Running,
        session: &Arc<dyn Session>,
        commands: RangeInclusive<u64>,
    ) {
        let last = *commands.end();
        let stream = Arc::new(Stream {
            running: Mutex::new(Some(running)),
            session: Arc::clone(session),
            commands,
        });
        {
            let mut all = self.all.lock().unwrap_or_else(PoisonError::into_inner);
            all.retain(|stream| stream.strong_count() > 0);
            all.push(Arc::downgrade(&stream));
        }
        self.any.store(true, Relaxed);
        session.when_answered(last, Box::new(move || stream.answered()));
    }

    #[inline]
    pub(super) fn any(&self) -> bool {
        self.any.load(Relaxed)
    }

    /// Ends all of them now, because no caller reads them.
    #[cold]
    pub(super) fn give_up(&self) {
        self.any.store(false, Relaxed);
        let all = std::mem::take(&mut *self.all.lock().unwrap_or_else(PoisonError::into_inner));
        for stream in all.iter().filter_map(Weak::upgrade) {
            stream.given_up();
        }
    }
}

impl Stream {
    /// Ends with the server's outcome.
    fn answered(&self) {
        let outcome = self.session.outcome(self.commands.clone());
        self.end(outcome, outcome.is_some_and(|outcome| !outcome.answered));
    }

    /// Ends with what the server has sent so far. What it sends from now on concerns nobody.
    fn given_up(&self) {
        self.end(self.session.outcome(self.commands.clone()), false);
    }

    fn end(&self, outcome: Option<Outcome>, is_lost: bool) {
        let running = self.running.lock().map(|mut running| running.take());
        let Ok(Some(running)) = running else {
            return;
        };
        // In a pipeline, it is unknown which query a command belongs to.
        let known = outcome.filter(|_| !running.shared);
        let failure = match known.and_then(|outcome| outcome.error) {
            Some(code) => Some(by_code(code)),
            None => is_lost.then(|| lost(Some(&*self.session))),
        };
        let rows = known.map(|outcome| outcome.rows);
        running.end(Instant::now(), failure.as_ref(), rows);
    }
}

impl fmt::Debug for Streams {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Streams")
            .field("any", &self.any)
            .finish_non_exhaustive()
    }
}
