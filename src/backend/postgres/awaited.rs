//! Who waits to be told that the server is done with a command.
//!
//! diesel says that a query has finished when the first response is there; its rows, and an error
//! among them, come later. Nearly always the whole answer came in one packet and nobody waits here,
//! so that the task that reads pays two atomic accesses and no lock.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{
    AtomicU64,
    Ordering::{Relaxed, SeqCst},
};
use std::sync::{Mutex, PoisonError};

type Done = Box<dyn FnOnce() + Send>;

/// Those who wait, by the number of the command that they wait for.
pub(super) struct Awaited {
    sent: AtomicU64,
    answered: AtomicU64,
    /// The lowest number that is waited for.
    next: AtomicU64,
    waiting: Mutex<Vec<(u64, Done)>>,
}

impl Default for Awaited {
    fn default() -> Self {
        Self {
            sent: AtomicU64::new(0),
            answered: AtomicU64::new(0),
            next: AtomicU64::new(u64::MAX),
            waiting: Mutex::default(),
        }
    }
}

impl Awaited {
    /// The number of the last command sent.
    pub(super) fn sent(&self) -> u64 {
        self.sent.load(Relaxed)
    }

    /// The number of the last command answered.
    pub(super) fn answered(&self) -> u64 {
        self.answered.load(SeqCst)
    }

    /// Whether it has come further than was published. Only the reader of the connection asks.
    pub(super) fn is_news(&self, sent: u64, answered: u64) -> bool {
        sent != self.sent() || answered != self.answered.load(Relaxed)
    }

    /// Publishes how far it is. Only the reader of the connection calls this.
    pub(super) fn set(&self, sent: u64, answered: u64) {
        self.sent.store(sent, Relaxed);
        // Its own last word: what has been answered is stored with a barrier, which costs.
        if answered == self.answered.load(Relaxed) {
            return;
        }
        // With `push`: either this sees who waits, or that one sees the answer.
        self.answered.store(answered, SeqCst);
        if self.next.load(SeqCst) <= answered {
            self.call(answered);
        }
    }

    /// Waits for a command, and is called at once if it was answered.
    pub(super) fn push(&self, number: u64, done: Done) {
        {
            let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
            waiting.push((number, done));
            self.next.fetch_min(number, SeqCst);
        }
        let answered = self.answered.load(SeqCst);
        if number <= answered {
            self.call(answered);
        }
    }

    /// No more answers will come.
    pub(super) fn call_all(&self) {
        self.call(u64::MAX);
    }

    fn call(&self, answered: u64) {
        let due: Vec<_> = {
            let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
            let due = waiting.extract_if(.., |(number, _)| *number <= answered);
            let due = due.collect();
            let next = waiting.iter().map(|(number, _)| *number).min();
            self.next.store(next.unwrap_or(u64::MAX), SeqCst);
            due
        };
        for (_, done) in due {
            // It runs code of the app's telemetry, on the task that the connection lives by.
            let _ = catch_unwind(AssertUnwindSafe(done));
        }
    }
}

impl fmt::Debug for Awaited {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Awaited")
            .field("next", &self.next)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use std::sync::atomic::AtomicUsize;
    use std::thread;

    #[test]
    fn each_is_called_once_when_its_command_is_answered() {
        let awaited = Awaited::default();
        let called = Arc::new(Mutex::new(Vec::new()));
        let note = |name: &'static str| {
            let called = Arc::clone(&called);
            Box::new(move || called.lock().unwrap().push(name)) as Done
        };
        awaited.set(3, 1);
        awaited.push(1, note("answered already"));
        awaited.push(3, note("third"));
        awaited.push(2, note("second"));
        awaited.set(3, 2);
        awaited.push(9, note("never"));
        awaited.set(4, 3);
        awaited.call_all();
        awaited.call_all();
        assert_eq!(
            *called.lock().unwrap(),
            ["answered already", "second", "third", "never"]
        );
    }

    #[test]
    fn nobody_is_forgotten_between_two_threads() {
        const ROUNDS: u64 = 20_000;
        let (awaited, called) = (Arc::new(Awaited::default()), Arc::new(AtomicUsize::new(0)));
        let reader = {
            let awaited = Arc::clone(&awaited);
            thread::spawn(move || (1..=ROUNDS).for_each(|n| awaited.set(n, n)))
        };
        for number in 1..=ROUNDS {
            let called = Arc::clone(&called);
            awaited.push(
                number,
                Box::new(move || {
                    called.fetch_add(1, SeqCst);
                }),
            );
        }
        reader.join().unwrap();
        assert_eq!(called.load(SeqCst) as u64, ROUNDS);
    }
}
