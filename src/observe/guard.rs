use std::fmt;
use std::ops::{Deref, DerefMut};
use std::sync::Arc;

use tokio::time::Instant;

use crate::checkout::{ConnectionFacts, PooledGuard};
use crate::record::recorder::Recorder;

/// An observed connection. It is recorded as held until it is dropped.
///
/// It dereferences to the target of the inner guard, the diesel connection. So `load(&mut conn)`,
/// `conn.transaction(async |c| …)` and all other methods of diesel-async work on it.
pub struct Observed<T: PooledGuard> {
    // On drop, the hold ends first, then the connection is returned, then its permit is released.
    pub(super) recorder: Arc<Recorder>,
    pub(super) key: u32,
    pub(super) inner: T,
}

impl<T: PooledGuard> Observed<T> {
    /// Returns a reference to the inner guard.
    pub fn get_ref(&self) -> &T {
        &self.inner
    }

    /// Returns a mutable reference to the inner guard.
    pub fn get_mut(&mut self) -> &mut T {
        &mut self.inner
    }
}

impl<T: PooledGuard> Drop for Observed<T> {
    fn drop(&mut self) {
        let at = self.recorder.returned(self.key);
        self.inner.comes_back(at);
    }
}

impl<T: PooledGuard + Deref> Deref for Observed<T> {
    type Target = T::Target;

    fn deref(&self) -> &T::Target {
        &self.inner
    }
}

impl<T: PooledGuard + DerefMut> DerefMut for Observed<T> {
    fn deref_mut(&mut self) -> &mut T::Target {
        &mut self.inner
    }
}

impl<T: PooledGuard> PooledGuard for Observed<T> {
    fn facts(&self) -> Option<Arc<dyn ConnectionFacts>> {
        self.inner.facts()
    }

    fn since(&self) -> Option<Instant> {
        self.inner.since()
    }

    fn comes_back(&mut self, at: Instant) {
        self.inner.comes_back(at);
    }
}

impl<T: PooledGuard> fmt::Debug for Observed<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Observed")
            .field("pool", &self.recorder.name)
            .finish_non_exhaustive()
    }
}
