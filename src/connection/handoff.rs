//! The hand-off queue: the checkouts that wait for a connection, in order of arrival.
//!
//! The gate admits checkouts in order, but bb8 gives a connection to the first one that asks. While a
//! connection attempt is slow, a later checkout would take a returned connection before the earlier
//! checkout that waits for the attempt. So a checkout that gets a connection while an older one
//! waits hands it over, and waits in its stead.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::oneshot;

pub(super) struct Handoff<T> {
    waiting: Mutex<WaitingCheckout<T>>,
    /// The length of the queue: written under the lock, read without it by checkouts that do not wait.
    length: AtomicUsize,
}

struct WaitingCheckout<T> {
    joined: u64,
    /// Ordered by number, the oldest first.
    places: VecDeque<(u64, oneshot::Sender<T>)>,
}

/// An entry in the hand-off queue. Dropping it leaves the queue, and drops a value that was handed
/// over and not taken.
pub(super) struct HandoffEntry<'a, T> {
    queue: &'a Handoff<T>,
    number: u64,
    handed: oneshot::Receiver<T>,
}

impl<T> Handoff<T> {
    pub(super) fn new() -> Self {
        Self {
            waiting: Mutex::new(WaitingCheckout {
                joined: 0,
                places: VecDeque::new(),
            }),
            length: AtomicUsize::new(0),
        }
    }

    fn waiting(&self) -> MutexGuard<'_, WaitingCheckout<T>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.length.load(Ordering::Acquire) == 0
    }

    /// Appends an entry to the queue.
    pub(super) fn join(&self) -> HandoffEntry<'_, T> {
        let (hand, handed) = oneshot::channel();
        let mut waiting = self.waiting();
        waiting.joined += 1;
        let number = waiting.joined;
        waiting.places.push_back((number, hand));
        self.length.store(waiting.places.len(), Ordering::Release);
        HandoffEntry {
            queue: self,
            number,
            handed,
        }
    }

    /// Hands a value to the oldest waiter, if it is older than `mine`. Returns the value if there is
    /// none.
    #[inline]
    pub(super) fn offer(&self, mine: Option<&HandoffEntry<'_, T>>, value: T) -> Option<T> {
        match self.is_empty() {
            true => Some(value),
            false => self.hand_over(mine, value),
        }
    }

    fn hand_over(&self, mine: Option<&HandoffEntry<'_, T>>, mut value: T) -> Option<T> {
        while !self.is_empty() {
            let Some(oldest) = self.take_older(mine.map(|place| place.number)) else {
                break;
            };
            // Send outside the lock, because it wakes a task.
            match oldest.send(value) {
                Ok(()) => return None,
                // That waiter is just leaving.
                Err(back) => value = back,
            }
        }
        Some(value)
    }

    fn take_older(&self, than: Option<u64>) -> Option<oneshot::Sender<T>> {
        let mut waiting = self.waiting();
        let (number, _) = waiting.places.front()?;
        if than.is_some_and(|mine| *number >= mine) {
            return None;
        }
        let (_, oldest) = waiting.places.pop_front()?;
        self.length.store(waiting.places.len(), Ordering::Release);
        Some(oldest)
    }
}

impl<T> HandoffEntry<'_, T> {
    /// Waits for a value that another checkout hands over.
    pub(super) async fn handed(&mut self) -> T {
        match (&mut self.handed).await {
            Ok(value) => value,
            // The sender never drops without sending.
            Err(_) => std::future::pending().await,
        }
    }
}

impl<T> Drop for HandoffEntry<'_, T> {
    fn drop(&mut self) {
        let mut waiting = self.queue.waiting();
        let at = waiting
            .places
            .binary_search_by_key(&self.number, |(number, _)| *number);
        let gone = at.ok().and_then(|at| waiting.places.remove(at));
        let length = waiting.places.len();
        self.queue.length.store(length, Ordering::Release);
        drop(waiting);
        drop(gone);
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    #[test]
    fn a_younger_checkout_hands_its_value_to_the_oldest() {
        let queue = Handoff::new();
        assert_eq!(queue.offer(None, 1), Some(1), "the queue is empty");
        let mut first = queue.join();
        let mut second = queue.join();
        assert_eq!(queue.offer(Some(&first), 2), Some(2), "no waiter is older");
        assert_eq!(queue.offer(Some(&second), 3), None);
        assert_eq!(first.handed().now_or_never(), Some(3));
        // The first has a value and is no longer in the queue.
        assert_eq!(queue.offer(Some(&second), 4), Some(4));
        assert_eq!(queue.offer(None, 5), None);
        assert_eq!(second.handed().now_or_never(), Some(5));
        assert_eq!(queue.offer(None, 6), Some(6));
    }

    #[test]
    fn a_waiter_that_leaves_is_skipped_and_removed() {
        let queue = Handoff::new();
        let first = queue.join();
        let mut second = queue.join();
        drop(first);
        assert_eq!(queue.offer(None, 1), None);
        assert_eq!(second.handed().now_or_never(), Some(1));
        let third = queue.join();
        assert_eq!(queue.length.load(Ordering::Acquire), 1);
        drop((second, third));
        assert_eq!(queue.length.load(Ordering::Acquire), 0);
    }

    #[test]
    fn a_value_handed_to_a_leaving_waiter_is_dropped() {
        let value = std::sync::Arc::new(());
        let queue = Handoff::new();
        let place = queue.join();
        assert!(queue.offer(None, value.clone()).is_none());
        assert_eq!(std::sync::Arc::strong_count(&value), 2);
        drop(place);
        assert_eq!(std::sync::Arc::strong_count(&value), 1);
    }
}
