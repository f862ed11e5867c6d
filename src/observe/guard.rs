use std::fmt;
use std::ops::{Deref, DerefMut};
use std::sync::Arc;

use super::recorder::Recorder;
use crate::checkout::{ConnectionFacts, Held};

/// A connection that is written down in the ledger until it is dropped.
///
/// Derefs to what the inner guard derefs to: the diesel connection. So `load(&mut conn)`,
/// `conn.transaction(async |c| …)` and everything else of diesel-async work on it.
pub struct Observed<T> {
    // Dropped in this order: the hold ends, the connection goes back, its permit is freed.
    hold: Hold,
    inner: T,
}

impl<T> Observed<T> {
    pub(super) fn new(inner: T, recorder: Arc<Recorder>, key: u32) -> Self {
        Self {
            hold: Hold { recorder, key },
            inner,
        }
    }

    /// The inner guard.
    pub fn get_ref(&self) -> &T {
        &self.inner
    }

    /// The inner guard, mutably.
    pub fn get_mut(&mut self) -> &mut T {
        &mut self.inner
    }
}

/// The entry in the ledger.
struct Hold {
    recorder: Arc<Recorder>,
    key: u32,
}

impl Drop for Hold {
    fn drop(&mut self) {
        self.recorder.returned(self.key);
    }
}

impl<T: Deref> Deref for Observed<T> {
    type Target = T::Target;

    fn deref(&self) -> &T::Target {
        &self.inner
    }
}

impl<T: DerefMut> DerefMut for Observed<T> {
    fn deref_mut(&mut self) -> &mut T::Target {
        &mut self.inner
    }
}

impl<T: Held> Held for Observed<T> {
    fn facts(&self) -> Option<Arc<dyn ConnectionFacts>> {
        self.inner.facts()
    }
}

impl<T> fmt::Debug for Observed<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Observed")
            .field("pool", &self.hold.recorder.name)
            .finish_non_exhaustive()
    }
}
