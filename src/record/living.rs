//! A list of living pools.

use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError, Weak};

use crate::record::ledger::Entries;
use crate::record::recorder::Recorder;

/// The pools of a process, or of a meter provider, for as long as they live. The list keeps no pool alive.
#[derive(Default)]
pub(crate) struct Living(Mutex<Entries<Weak<Recorder>>>);

/// A pool's entry in a list, which is removed when this is dropped. The pool itself holds it, so a dropped
/// pool leaves nothing in the list.
pub(crate) struct Entered {
    living: Arc<Living>,
    key: u32,
}

/// All pools of the process.
static ALL: LazyLock<Arc<Living>> = LazyLock::new(Arc::default);

impl Living {
    /// Returns the list of all pools of the process.
    pub(crate) fn all() -> &'static Arc<Self> {
        &ALL
    }

    /// Adds a pool.
    pub(crate) fn enter(self: &Arc<Self>, pool: &Arc<Recorder>) -> Entered {
        Entered {
            key: self.entries().insert(Arc::downgrade(pool)),
            living: Arc::clone(self),
        }
    }

    /// Returns the pools that are alive now, in no particular order.
    pub(crate) fn pools(&self) -> Vec<Arc<Recorder>> {
        self.entries().iter().filter_map(Weak::upgrade).collect()
    }

    fn entries(&self) -> MutexGuard<'_, Entries<Weak<Recorder>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Entered {
    fn drop(&mut self) {
        self.living.entries().remove(self.key);
    }
}
