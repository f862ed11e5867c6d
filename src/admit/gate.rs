//! The gate: as many permits as there may be connections, in the order they were asked for.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::sync::{Notify, Semaphore};
use tokio::time::timeout;

use super::permit::Permit;

const RECHECK: Duration = Duration::from_millis(100);

/// The state shared by all clones of an [`Admit`](super::Admit), and the handle to steer it.
///
/// tokio's `Semaphore` is a FIFO queue in which a newcomer never overtakes: a released permit is
/// assigned to the longest waiting before `try_acquire` can see it.
#[derive(Debug)]
pub struct Gate {
    permits: Semaphore,
    capacity: u32,
    timeout: Duration,
    closed: AtomicBool,
    /// Woken at each return of a permit once the gate is closed, for [`drained`](Self::drained).
    returned: Notify,
}

impl Gate {
    pub(super) fn new(capacity: u32, timeout: Duration) -> Self {
        Self {
            permits: Semaphore::new(capacity as usize),
            capacity,
            timeout,
            closed: AtomicBool::new(false),
            returned: Notify::new(),
        }
    }

    /// How long a checkout may take as a whole.
    #[must_use]
    pub fn timeout(&self) -> Duration {
        self.timeout
    }

    /// Permits handed out at this instant.
    #[must_use]
    pub fn admitted(&self) -> u32 {
        self.capacity
            .saturating_sub(u32::try_from(self.permits.available_permits()).unwrap_or(u32::MAX))
    }

    /// Turns every waiter and every later checkout away with
    /// [`PoolError::Closed`](crate::PoolError::Closed). Those already admitted keep their permits.
    pub fn close(&self) {
        self.closed.store(true, Ordering::SeqCst);
        self.permits.close();
    }

    /// Whether [`close`](Self::close) was called.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.closed.load(Ordering::SeqCst)
    }

    /// Resolves when the gate is closed and every permit has come back.
    pub async fn drained(&self) {
        loop {
            let returned = self.returned.notified();
            tokio::pin!(returned);
            // Registered before the count is read, so that a return in between is not missed.
            returned.as_mut().enable();
            if self.is_closed() && self.admitted() == 0 {
                return;
            }
            // A waiter that goes away with a permit just assigned gives it back inside tokio, unseen.
            let _ = timeout(RECHECK, returned).await;
        }
    }

    /// A permit without waiting: `Ok(None)` when there is none, `Err(())` when closed.
    pub(super) fn try_admit(self: &Arc<Self>) -> Result<Option<Permit>, GateClosed> {
        match self.permits.try_acquire() {
            Ok(permit) => {
                permit.forget();
                Ok(Some(Permit::new(Arc::clone(self))))
            }
            Err(tokio::sync::TryAcquireError::NoPermits) => Ok(None),
            Err(tokio::sync::TryAcquireError::Closed) => Err(GateClosed),
        }
    }

    /// A permit, in turn. Dropping the future gives up the place in the queue.
    pub(super) async fn admit(self: Arc<Self>) -> Result<Permit, GateClosed> {
        match self.permits.acquire().await {
            // No await between the two lines: the permit is never without an owner.
            Ok(permit) => permit.forget(),
            Err(_) => return Err(GateClosed),
        }
        Ok(Permit::new(self))
    }

    pub(super) fn release(&self) {
        self.permits.add_permits(1);
        if self.is_closed() {
            self.returned.notify_waiters();
        }
    }
}

/// The gate was closed before a permit was had.
#[derive(Debug, Clone, Copy)]
pub(super) struct GateClosed;
