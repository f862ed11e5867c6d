//! [`Gate`]: the admission queue behind a lock, with the methods that control it.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

use super::permit::Permit;
use super::queue::{AdmissionQueue, Refused, Rules, Woken};
use super::waiters::WaiterKey;

/// The admission state shared by all clones of an [`Admit`](super::Admit), and its controls.
///
/// Admission is first come, first served. A newcomer never overtakes: a returned permit is assigned
/// to the oldest waiter before any other checkout can take it.
#[derive(Debug)]
pub struct Gate {
    queue: Mutex<AdmissionQueue<Waker>>,
    timeout: Duration,
    /// How long a waiter queues before it first calls [`Turn::overdue`], and the interval between later
    /// calls. `None` if the gate does not shed load.
    pub(super) patience: Option<(Duration, Duration)>,
    /// Notified when the gate is closed and the last permit is returned.
    drained: Notify,
}

impl Gate {
    pub(super) fn new(capacity: u32, timeout: Duration, rules: Rules) -> Self {
        let shedding = rules.shedding;
        Self {
            queue: Mutex::new(AdmissionQueue::new(capacity, rules)),
            timeout,
            patience: shedding.map(|shedding| (shedding.patience(), shedding.interval)),
            drained: Notify::new(),
        }
    }

    fn queue(&self) -> MutexGuard<'_, AdmissionQueue<Waker>> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the total time limit of a checkout.
    #[must_use]
    pub fn timeout(&self) -> Duration {
        self.timeout
    }

    /// Returns the number of permits.
    #[must_use]
    pub fn capacity(&self) -> u32 {
        self.queue().capacity
    }

    /// Returns the number of permits in use at this instant. After [`resize`](Self::resize) it may
    /// exceed the capacity for a while.
    #[must_use]
    pub fn admitted(&self) -> u32 {
        self.queue().admitted
    }

    /// Returns the number of checkouts that wait for a permit at this instant.
    #[must_use]
    pub fn pending(&self) -> u32 {
        self.queue().pending()
    }

    /// Changes the number of permits. Additional permits serve waiting checkouts at once. Surplus
    /// permits are removed when they are returned.
    pub fn resize(&self, capacity: u32) {
        self.steer(|queue| queue.resize(capacity, Instant::now));
    }

    /// Stops admission until [`resume`](Self::resume). New checkouts wait or, with
    /// [`AdmitLayer::fail_when_suspended`](super::AdmitLayer::fail_when_suspended), fail at once with
    /// [`PoolError::Suspended`](crate::PoolError::Suspended). Admitted checkouts keep their permits.
    pub fn suspend(&self) {
        self.steer(AdmissionQueue::suspend);
    }

    /// Ends a [`suspend`](Self::suspend) and admits waiting checkouts in order.
    pub fn resume(&self) {
        let now = Instant::now();
        self.steer(|queue| queue.resume(now));
    }

    /// Returns whether the gate is suspended.
    #[must_use]
    pub fn is_suspended(&self) -> bool {
        self.queue().suspended
    }

    /// Rejects every waiting and every later checkout with
    /// [`PoolError::Closed`](crate::PoolError::Closed). Admitted checkouts keep their permits.
    pub fn close(&self) {
        self.steer(|queue| queue.close(Refused::Closed));
    }

    /// As [`close`](Self::close), with [`PoolError::RuntimeEnded`](crate::PoolError::RuntimeEnded).
    pub(crate) fn runtime_ended(&self) {
        self.steer(|queue| queue.close(Refused::RuntimeEnded));
    }

    /// Returns whether [`close`](Self::close) was called.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.queue().closed.is_some()
    }

    /// Waits until the gate is closed and every permit was returned.
    pub async fn drained(&self) {
        loop {
            let drained = self.drained.notified();
            tokio::pin!(drained);
            // Register before reading the count, so that a return in between is not missed.
            drained.as_mut().enable();
            if self.queue().is_drained() {
                return;
            }
            drained.await;
        }
    }

    /// Changes the queue, then wakes the affected tasks outside the lock, because a waker may run any
    /// code.
    fn steer(&self, change: impl FnOnce(&mut AdmissionQueue<Waker>) -> Woken<Waker>) {
        let (woken, drained) = {
            let mut queue = self.queue();
            (change(&mut queue), queue.is_drained())
        };
        if let Some(woken) = woken.0 {
            woken.into_iter().for_each(Waker::wake);
        }
        if drained {
            self.drained.notify_waiters();
        }
    }

    /// Takes a permit or, if `waits`, joins the queue.
    pub(super) fn enter(self: Arc<Self>, waits: bool, waker: &Waker) -> Result<Entered, Refused> {
        // Most checkouts are admitted at once and need no clock.
        if self.queue().enter()? {
            return Ok(Entered::In(Permit(self)));
        }
        if !waits {
            return Ok(Entered::Full);
        }
        let key = self.queue().enter_or_wait(Instant::now(), waker.clone())?;
        Ok(match key {
            None => Entered::In(Permit(self)),
            Some(_) => Entered::Waits(Turn { gate: self, key }),
        })
    }

    pub(super) fn release(&self) {
        self.steer(|queue| queue.release(Instant::now));
    }
}

/// The result of asking for a permit.
pub(super) enum Entered {
    In(Permit),
    Waits(Turn),
    /// There is no permit, and the checkout does not wait.
    Full,
}

/// An entry in the queue, and its permit once admitted. Dropping it gives both up.
#[derive(Debug)]
pub(super) struct Turn {
    pub(super) gate: Arc<Gate>,
    key: Option<WaiterKey>,
}

impl Turn {
    /// Leaves the queue if load shedding rejects a waiter that has waited this long.
    pub(super) fn overdue(&mut self, now: Instant) -> Option<Refused> {
        let mut old = None;
        let refusal = self.gate.queue().overdue(self.key?, now, &mut old);
        drop(old);
        if refusal.is_some() {
            self.key = None;
        }
        refusal
    }

    /// Returns the permit once the waiter is admitted.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<Permit, Refused>> {
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
        Poll::Ready(answer.map(|()| Permit(Arc::clone(&self.gate))))
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
