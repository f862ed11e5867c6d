//! Identifies statements by a hash of their text, without allocating for the lookup.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::{Arc, Weak};

use super::text::SessionChange;
use crate::checkout::query_context::{IdentifiedStatement, QueryObserver, Statement, StatementId};
use foldhash::fast::FixedState;

/// Maximum number of statements remembered per connection; beyond it, all are forgotten. The limit is
/// needed because an app that writes values into its statements sends new texts all the time.
const REMEMBERED: usize = 512;

/// The hash of a text, the id of its statement, and what it leaves in its session.
#[derive(Debug, Clone, Copy)]
pub(super) struct CachedStatement {
    pub(super) hash: u64,
    pub(super) id: StatementId,
    pub(super) change: SessionChange,
}

/// A statement that is remembered.
pub(super) struct Remembered {
    pub(super) known: IdentifiedStatement,
    /// What the text leaves in its session. Texts that differ only in their values may differ here.
    pub(super) change: Option<SessionChange>,
}

/// A connection's cache of the statements of one observer.
#[derive(Default)]
pub(super) struct StatementCache {
    /// The observer. The weak handle keeps its allocation, so that no other one has the same address.
    by: Option<Weak<dyn QueryObserver>>,
    remembered: HashMap<u64, Remembered, FixedState>,
}

impl StatementCache {
    /// Returns the handle of the observer for a query in flight. Clears the cache if the observer is
    /// not the previous one.
    pub(super) fn of(&mut self, observer: &Arc<dyn QueryObserver>) -> Weak<dyn QueryObserver> {
        match &self.by {
            Some(by) if std::ptr::addr_eq(by.as_ptr(), Arc::as_ptr(observer)) => Weak::clone(by),
            _ => {
                let by = Arc::downgrade(observer);
                *self = Self {
                    by: Some(Weak::clone(&by)),
                    ..Self::default()
                };
                by
            }
        }
    }

    /// Returns whether the cache belongs to this observer.
    pub(super) fn are_of(&self, observer: &Weak<dyn QueryObserver>) -> bool {
        self.by.as_ref().is_some_and(|by| by.ptr_eq(observer))
    }

    /// Returns the statement with this hash; `None` if there are too many distinct statements, or if
    /// the observer has been dropped.
    pub(super) fn find(
        &mut self,
        hash: u64,
        read: &mut dyn FnMut() -> Statement,
    ) -> Option<&mut Remembered> {
        if self.remembered.len() >= REMEMBERED && !self.remembered.contains_key(&hash) {
            self.remembered.clear();
        }
        match self.remembered.entry(hash) {
            Entry::Occupied(known) => Some(known.into_mut()),
            Entry::Vacant(place) => {
                let observer = self.by.as_ref()?.upgrade()?;
                Some(place.insert(Remembered {
                    known: observer.statement(hash, read)?,
                    change: None,
                }))
            }
        }
    }
}
