//! Calls back when the server has answered a command.
//!
//! diesel reports a query as finished when the first response arrives; its rows, and an error among
//! them, arrive later. Usually the whole answer arrives in one packet and no callback is
//! registered. The reading task then pays for two atomic accesses and takes no lock.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{
    AtomicU64,
    Ordering::{Relaxed, SeqCst},
};
use std::sync::{Mutex, PoisonError};

type Done = Box<dyn FnOnce() + Send>;

/// The registered callbacks, by the number of the awaited command.
pub(super) struct Awaited {
    sent: AtomicU64,
    answered: AtomicU64,
    /// The lowest awaited number; `u64::MAX` if there is none.
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
    /// Returns the number of the last command sent.
    pub(super) fn sent(&self) -> u64 {
        self.sent.load(Relaxed)
    }

    /// Returns the number of the last command answered.
    pub(super) fn answered(&self) -> u64 {
        self.answered.load(SeqCst)
    }

    /// Returns whether these numbers differ from the published ones. Only the reader of the
    /// connection calls this.
    pub(super) fn is_news(&self, sent: u64, answered: u64) -> bool {
        sent != self.sent() || answered != self.answered.load(Relaxed)
    }

    /// Publishes the numbers. Only the reader of the connection calls this.
    pub(super) fn set(&self, sent: u64, answered: u64) {
        self.sent.store(sent, Relaxed);
        // A relaxed load suffices, because only this task stores the value. Skip the store if the
        // value is unchanged: its barrier is expensive.
        if answered == self.answered.load(Relaxed) {
            return;
        }
        // Pairs with `push`: either this sees the new callback, or `push` sees the new number.
        self.answered.store(answered, SeqCst);
        if self.next.load(SeqCst) <= answered {
            self.call(answered);
        }
    }

    /// Registers a callback for a command. Calls it immediately if the command was answered.
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

    /// Calls all callbacks, because no more answers will arrive.
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
            // The callback runs telemetry code of the app on the task that drives the connection. A
            // panic in it must not end that task.
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
    fn each_callback_is_called_once_when_its_command_is_answered() {
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
    fn no_callback_is_lost_between_two_threads() {
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
