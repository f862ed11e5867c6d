//! The ledger: who holds a connection, and who waits for one, at this instant.

use std::panic::Location;
use std::sync::Arc;
use std::time::Duration;

use opentelemetry::trace::TraceId;
use slab::Slab;
use tokio::time::Instant;

use super::clock::{Clock, nanos};
use super::history::{Position, Queries};
use crate::attribution::Attribution;
use crate::backend::SessionState;
use crate::checkout::{Checkout, ConnectionFacts};
use crate::phase::Phase;

/// One entry of the ledger; read through [`Recorder`](super::recorder::Recorder).
#[derive(Debug, Clone)]
pub(crate) struct Holder {
    pub(crate) checkout: Checkout,
    pub(crate) since: Instant,
    /// The same by the pool's clock; written with the entry.
    pub(crate) at: u64,
    /// How long it had waited.
    pub(crate) waited: Duration,
    pub(crate) trace: Option<TraceId>,
    /// The request that it serves.
    pub(crate) request: Option<Arc<Attribution>>,
    pub(crate) facts: Option<Arc<dyn ConnectionFacts>>,
    /// Time the database had been at work for the connection before.
    pub(crate) busy_before: Option<Duration>,
    /// Where it is in the history, if it is.
    pub(crate) position: Option<Position>,
    /// The log has it as a leak.
    pub(crate) told_as_leak: bool,
}

impl Holder {
    pub(crate) fn caller(&self) -> &'static Location<'static> {
        self.checkout.caller()
    }

    /// The route of the request that it serves.
    pub(crate) fn route(&self) -> Option<&Arc<str>> {
        self.request.as_ref()?.route.as_ref()
    }

    /// Of the time held, how long the database has been at work.
    pub(crate) fn busy(&self) -> Option<Duration> {
        let busy = self.facts.as_ref()?.busy()?;
        Some(busy.saturating_sub(self.busy_before?))
    }

    /// Its queries, for the history.
    pub(super) fn queries(&self, busy: Option<Duration>, clock: Clock) -> Option<Queries> {
        Some(Queries {
            between: self.facts.as_ref()?.queried(clock.start),
            busy: nanos(busy?),
        })
    }

    /// What its connection does, as far as the pool can tell by itself; `None` where queries are not
    /// watched.
    pub(crate) fn state(&self) -> Option<SessionState> {
        let facts = self.facts.as_ref()?;
        Some(SessionState::seen(
            facts.queries_in_flight()?,
            facts.transaction(),
        ))
    }

    pub(crate) fn held(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.since)
    }
}

#[cfg(test)]
impl Holder {
    /// Who has just got a connection and had not waited, and of whom nothing else is known.
    pub(crate) fn bare(checkout: Checkout) -> Self {
        Self {
            checkout,
            since: Instant::now(),
            at: 0,
            waited: Duration::ZERO,
            trace: None,
            request: None,
            facts: None,
            busy_before: None,
            position: None,
            told_as_leak: false,
        }
    }
}

/// Someone in the queue.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Waiter {
    pub(crate) since: Instant,
    /// What for, where it is known.
    pub(crate) phase: Option<Phase>,
}

/// Entries kept when all are gone, after a burst.
const KEPT: usize = 1024;

/// Who is found by a key, without hashing; a freed key is used again.
#[derive(Debug)]
pub(crate) struct Entries<T>(Slab<T>);

impl<T> Default for Entries<T> {
    fn default() -> Self {
        Self(Slab::new())
    }
}

impl<T> Entries<T> {
    pub(crate) fn insert(&mut self, entry: T) -> u32 {
        self.0.insert(entry) as u32
    }

    pub(crate) fn remove(&mut self, key: u32) -> Option<T> {
        let entry = self.0.try_remove(key as usize);
        // A burst of waiters should not keep its memory for ever.
        if self.0.is_empty() && self.0.capacity() > KEPT {
            self.0 = Slab::new();
        }
        entry
    }

    pub(crate) fn get_mut(&mut self, key: u32) -> Option<&mut T> {
        self.0.get_mut(key as usize)
    }

    pub(crate) fn len(&self) -> u32 {
        self.0.len() as u32
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &T> {
        self.0.iter().map(|(_, entry)| entry)
    }

    pub(crate) fn iter_mut(&mut self) -> impl Iterator<Item = &mut T> {
        self.0.iter_mut().map(|(_, entry)| entry)
    }
}

/// Holders and waiters.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    pub(crate) holders: Entries<Holder>,
    pub(crate) waiters: Entries<Waiter>,
}

impl Ledger {
    /// Who has held a connection for the longest.
    pub(crate) fn longest_holder(&self) -> Option<&Holder> {
        self.holders.iter().min_by_key(|holder| holder.since)
    }

    /// Since when the newest of the holders holds.
    pub(crate) fn newest_hold(&self) -> Option<Instant> {
        self.holders.iter().map(|holder| holder.since).max()
    }

    /// How many wait for this.
    pub(crate) fn waiting_in(&self, phase: Phase) -> u32 {
        let waiters = self.waiters.iter();
        waiters.filter(|waiter| waiter.phase == Some(phase)).count() as u32
    }

    /// Who has waited for the longest.
    pub(crate) fn longest_waiter(&self) -> Option<&Waiter> {
        self.waiters.iter().min_by_key(|waiter| waiter.since)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::HashMap;

    proptest! {
        #[test]
        fn entries_are_a_map(steps in prop::collection::vec(prop_oneof![Just(None), (0_u32..3000).prop_map(Some)], 0..4000)) {
            let (mut entries, mut model) = (Entries::default(), HashMap::new());
            for (value, step) in steps.into_iter().enumerate() {
                match step {
                    None => prop_assert!(model.insert(entries.insert(value), value).is_none()),
                    Some(key) => prop_assert_eq!(entries.remove(key), model.remove(&key)),
                }
                prop_assert_eq!(entries.len() as usize, model.len());
            }
            let mut left: Vec<_> = entries.iter().copied().collect();
            let mut expected: Vec<_> = model.into_values().collect();
            left.sort_unstable();
            expected.sort_unstable();
            prop_assert_eq!(left, expected);
        }
    }
}
