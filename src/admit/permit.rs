//! The permit, and the response that holds it.

use std::ops::{Deref, DerefMut};
use std::sync::Arc;

use tokio::time::Instant;

use super::gate::Gate;
use crate::checkout::{ConnectionFacts, PooledGuard};

/// The right to hold one connection. On drop it goes to the oldest waiter.
#[derive(Debug)]
pub(super) struct Permit(pub(super) Arc<Gate>);

impl Drop for Permit {
    fn drop(&mut self) {
        self.0.release();
    }
}

/// A connection and its permit. Derefs to the target of the inner guard.
#[derive(Debug)]
pub struct Admitted<T> {
    // The field order matters: the connection must be returned before its permit. Otherwise the next
    // checkout would find no connection and open one too many.
    pub(super) inner: T,
    /// `None` once the task that cleans the connection holds it.
    pub(super) permit: Option<Permit>,
}

impl<T> Admitted<T> {
    /// Returns the inner guard.
    pub fn get_ref(&self) -> &T {
        &self.inner
    }

    /// Returns the inner guard, mutably.
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

impl<T: PooledGuard> PooledGuard for Admitted<T> {
    fn facts(&self) -> Option<Arc<dyn ConnectionFacts>> {
        self.inner.facts()
    }

    fn since(&self) -> Option<Instant> {
        self.inner.since()
    }

    fn comes_back(&mut self, at: Instant) {
        self.inner.comes_back(at);
        let Self { inner, permit } = self;
        inner.clean(&mut || Box::new(permit.take()));
    }
}
