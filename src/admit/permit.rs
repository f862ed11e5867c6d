//! The permit, and the response that holds it.

use std::ops::{Deref, DerefMut};
use std::sync::Arc;

use tokio::time::Instant;

use super::gate::Gate;
use crate::checkout::{ConnectionFacts, Held};

/// The right to hold one connection; dropped, the longest waiting gets it.
#[derive(Debug)]
pub(super) struct Permit {
    gate: Arc<Gate>,
}

impl Permit {
    pub(super) fn new(gate: Arc<Gate>) -> Self {
        Self { gate }
    }

    pub(super) fn gate(&self) -> &Gate {
        &self.gate
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.gate.release();
    }
}

/// A connection and the permit to hold it. Derefs to what the inner guard derefs to.
#[derive(Debug)]
pub struct Admitted<T> {
    // In this order: the connection goes back before its permit, or the next in the queue would
    // find no connection and open one too many.
    inner: T,
    _permit: Permit,
}

impl<T> Admitted<T> {
    pub(super) fn new(inner: T, permit: Permit) -> Self {
        Self {
            inner,
            _permit: permit,
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

impl<T: Deref> Deref for Admitted<T> {
    type Target = T::Target;

    fn deref(&self) -> &T::Target {
        &self.inner
    }
}

impl<T: DerefMut> DerefMut for Admitted<T> {
    fn deref_mut(&mut self) -> &mut T::Target {
        &mut self.inner
    }
}

impl<T: Held> Held for Admitted<T> {
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
