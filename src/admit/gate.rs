//! The gate: a queue behind a lock, and the handle to steer it.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

use super::permit::Permit;
use super::places::Key;
use super::queue::{Queue, Refusal, Rules, Woken};
use super::shedding::Shedding;

/// The state shared by all clones of an [`Admit`](super::Admit), and the handle to steer it.
///
/// First come, first served: a newcomer never overtakes, and a permit that comes back belongs to the
/// longest waiting before anybody else can see it.
#[derive(Debug)]
pub struct Gate {
    queue: Mutex<Queue<Waker>>,
    timeout: Duration,
    shedding: Option<Shedding>,
    /// Woken when the gate is closed and the last permit comes back.
    drained: Notify,
}

impl Gate {
    pub(super) fn new(capacity: u32, timeout: Duration, rules: Rules) -> Self {
        Self {
            queue: Mutex::new(Queue::new(capacity, rules)),
            timeout,
            shedding: rules.shedding,
            drained: Notify::new(),
        }
    }

    fn queue(&self) -> MutexGuard<'_, Queue<Waker>> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How long a checkout may take as a whole.
    #[must_use]
    pub fn timeout(&self) -> Duration {
        self.timeout
    }

    /// How many permits there are.
    #[must_use]
    pub fn capacity(&self) -> u32 {
        self.queue().capacity()
    }

    /// Permits handed out at this instant; after [`resize`](Self::resize) it may be more than the
    /// capacity for a while.
    #[must_use]
    pub fn admitted(&self) -> u32 {
        self.queue().admitted()
    }

    /// Checkouts that wait for a permit at this instant.
    #[must_use]
    pub fn pending(&self) -> u32 {
        self.queue().pending()
    }

    /// Changes how many permits there are. More of them serve those who wait at once; of fewer,
    /// those handed out are taken back as they return.
    pub fn resize(&self, capacity: u32) {
        self.steer(|queue| queue.resize(capacity, Instant::now));
    }

    /// Lets nobody in until [`resume`](Self::resume): those who come wait, or fail at once with
    /// [`PoolError::Suspended`](crate::PoolError::Suspended), by setting. Those already admitted
    /// keep their permits.
    pub fn suspend(&self) {
        self.steer(Queue::suspend);
    }

    /// Ends a [`suspend`](Self::suspend).
    pub fn resume(&self) {
        let now = Instant::now();
        self.steer(|queue| queue.resume(now));
    }

    /// Whether [`suspend`](Self::suspend) is in force.
    #[must_use]
    pub fn is_suspended(&self) -> bool {
        self.queue().is_suspended()
    }

    /// Turns every waiter and every later checkout away with
    /// [`PoolError::Closed`](crate::PoolError::Closed). Those already admitted keep their permits.
    pub fn close(&self) {
        self.steer(Queue::close);
    }

    /// Whether [`close`](Self::close) was called.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.queue().is_closed()
    }

    /// Resolves when the gate is closed and every permit has come back.
    pub async fn drained(&self) {
        loop {
            let drained = self.drained.notified();
            tokio::pin!(drained);
            // Registered before the count is read, so that a return in between is not missed.
            drained.as_mut().enable();
            if self.queue().is_drained() {
                return;
            }
            drained.await;
        }
    }

    /// Changes the queue, and tells whom it concerns: outside the lock, for a waker may run anything.
    fn steer(&self, change: impl FnOnce(&mut Queue<Waker>) -> Woken<Waker>) {
        let (woken, drained) = {
            let mut queue = self.queue();
            (change(&mut queue), queue.is_drained())
        };
        woken.into_each().for_each(Waker::wake);
        if drained {
            self.drained.notify_waiters();
        }
    }

    /// When a waiter should first ask [`Turn::overdue`], and how often from then on.
    pub(super) fn patience(&self) -> Option<(Duration, Duration)> {
        let shedding = self.shedding.as_ref()?;
        Some((shedding.patience(), shedding.interval()))
    }

    /// A permit, or a place in the queue for whoever waits.
    pub(super) fn enter(self: Arc<Self>, waits: bool, waker: &Waker) -> Result<Entered, Refusal> {
        // Most get in at once, and need no clock.
        if self.queue().enter()? {
            return Ok(Entered::In(Permit::new(self)));
        }
        if !waits {
            return Ok(Entered::Full);
        }
        let key = self.queue().enter_or_wait(Instant::now(), waker.clone())?;
        Ok(match key {
            None => Entered::In(Permit::new(self)),
            Some(_) => Entered::Waits(Turn { gate: self, key }),
        })
    }

    pub(super) fn release(&self) {
        self.steer(|queue| queue.release(Instant::now));
    }
}

/// What became of asking for a permit.
pub(super) enum Entered {
    In(Permit),
    Waits(Turn),
    /// There is none, and it is not waited for.
    Full,
}

/// A place in the queue, and the permit once it has come to the front. Dropped, it is given up.
#[derive(Debug)]
pub(super) struct Turn {
    gate: Arc<Gate>,
    key: Option<Key>,
}

impl Turn {
    pub(super) fn gate(&self) -> &Gate {
        &self.gate
    }

    /// Gives up if the queue is too slow for a waiter that has waited for so long.
    pub(super) fn overdue(&mut self, now: Instant) -> Option<Refusal> {
        let mut old = None;
        let refusal = self.gate.queue().overdue(self.key?, now, &mut old);
        drop(old);
        let refusal = refusal?;
        self.key = None;
        Some(refusal)
    }
}

impl Future for Turn {
    type Output = Result<Permit, Refusal>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let key = self.key.expect("polled after completion");
        let mut old = None;
        let changed = |waker: Option<&Waker>| {
            let same = waker.is_some_and(|waker| waker.will_wake(cx.waker()));
            (!same).then(|| cx.waker().clone())
        };
        let answer = self.gate.queue().answer(key, changed, &mut old);
        drop(old);
        let Some(answer) = answer else {
            return Poll::Pending;
        };
        self.key = None;
        Poll::Ready(answer.map(|()| Permit::new(Arc::clone(&self.gate))))
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let Some(key) = self.key else { return };
        let mut old = None;
        self.gate
            .steer(|queue| queue.leave(key, Instant::now, &mut old));
    }
}
