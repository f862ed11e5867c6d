//! Which statement a query is, found by a hash of its text: nothing is allocated to look it up.

use std::collections::hash_map::Entry;
use std::sync::{Arc, Weak};

use crate::hashed::ByHash;
use crate::occupant::{Known, QueryObserver, Statement, StatementId};

/// Texts that a connection remembers; it forgets all when there are more. An app that writes values
/// into its statements sends ever new ones.
const REMEMBERED: usize = 512;

/// What a text was found to be.
#[derive(Debug, Clone, Copy)]
pub(super) struct Identified {
    pub(super) hash: u64,
    pub(super) id: StatementId,
}

/// What a connection has asked one observer for lately.
#[derive(Default)]
pub(super) struct Identities {
    /// Held, so that another one cannot be at the same address.
    by: Option<Weak<dyn QueryObserver>>,
    remembered: ByHash<Known>,
}

impl Identities {
    /// The observer as it is held by a query under way. Of another than before nothing is known.
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

    /// Whether it is this one that was asked last.
    pub(super) fn are_of(&self, observer: &Weak<dyn QueryObserver>) -> bool {
        self.by.as_ref().is_some_and(|by| by.ptr_eq(observer))
    }

    /// The statement with this hash; `None` if it is one of too many, or if nobody is there any more
    /// to ask.
    pub(super) fn find(
        &mut self,
        hash: u64,
        read: &mut dyn FnMut() -> Statement,
    ) -> Option<&Known> {
        if self.remembered.len() >= REMEMBERED && !self.remembered.contains_key(&hash) {
            self.remembered.clear();
        }
        match self.remembered.entry(hash) {
            Entry::Occupied(known) => Some(known.into_mut()),
            Entry::Vacant(place) => {
                let observer = self.by.as_ref()?.upgrade()?;
                Some(place.insert(observer.statement(hash, read)?))
            }
        }
    }
}
