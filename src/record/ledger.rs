//! The current holders of connections, and the checkouts that wait for one.

use std::panic::Location;
use std::sync::Arc;
use std::time::Duration;

use opentelemetry::trace::{SpanContext, SpanId, TraceFlags, TraceId, TraceState};
use slab::Slab;
use tokio::task;
use tokio::time::Instant;

use crate::backend::SessionState;
use crate::checkout::wait_phase::Phase;
use crate::checkout::{Checkout, ConnectionFacts};
use crate::record::blame::Mark;
use crate::record::clock::{Clock, nanos};
use crate::record::history::{Position, Queries};
use crate::record::timeline::AtWork;
use crate::record::waiters::{Waiter, Waiters};
use crate::request::attribution::Attribution;

/// A checkout that holds a connection; read through [`Recorder`](crate::record::recorder::Recorder).
#[derive(Clone)]
pub(crate) struct Holder {
    pub(crate) checkout: Checkout,
    pub(crate) since: Instant,
    /// The same instant in nanoseconds of the pool's clock; set when the holder is recorded.
    pub(crate) at: u64,
    /// Time from the request for the connection to its grant.
    pub(crate) waited: Duration,
    /// The span of the checkout, or without one the span that it was made in.
    pub(crate) span: Option<SpanRef>,
    /// The HTTP request that the checkout belongs to, if any.
    pub(crate) request: Option<Arc<Attribution>>,
    /// The task that it was checked out in; `None` if the request is known, or outside a task.
    pub(crate) task: Option<task::Id>,
    pub(crate) facts: Option<Arc<dyn ConnectionFacts>>,
    /// Time the database had worked for the connection before this hold; `None` if not measured.
    pub(crate) busy_before: Option<Duration>,
    /// Position of its entry in the history; `None` if the history has none.
    pub(crate) position: Option<Position>,
    /// The pool's blame at the beginning of this hold; set when the holder is recorded.
    pub(crate) mark: Mark,
    /// Whether it was logged as a leak.
    pub(crate) leak_reported: bool,
}

/// A span that others may link to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct SpanRef {
    pub(crate) trace: TraceId,
    span: SpanId,
    flags: TraceFlags,
}

impl SpanRef {
    /// Returns `None` if there is no such span.
    pub(crate) fn of(context: &SpanContext) -> Option<Self> {
        context.is_valid().then(|| Self {
            trace: context.trace_id(),
            span: context.span_id(),
            flags: context.trace_flags(),
        })
    }

    pub(crate) fn context(self) -> SpanContext {
        SpanContext::new(self.trace, self.span, self.flags, false, TraceState::NONE)
    }
}

impl Holder {
    pub(crate) fn caller(&self) -> &'static Location<'static> {
        self.checkout.caller()
    }

    /// Returns the route of the request that the checkout belongs to.
    pub(crate) fn route(&self) -> Option<&Arc<str>> {
        self.request.as_ref()?.route.as_ref()
    }

    /// Returns the number of the connection within its pool; `None` if it has none.
    pub(crate) fn connection(&self) -> Option<u64> {
        self.facts.as_ref()?.number()
    }

    /// Returns how long the database has worked during this hold; `None` if not measured.
    pub(crate) fn busy(&self) -> Option<Duration> {
        let busy = self.facts.as_ref()?.busy()?;
        Some(busy.saturating_sub(self.busy_before?))
    }

    /// Returns the queries of this hold for the history; `None` if they are not watched.
    pub(crate) fn queries(&self, busy: Option<Duration>, clock: Clock) -> Option<Queries> {
        Some(Queries {
            between: self.facts.as_ref()?.queried(clock.start),
            busy: nanos(busy?),
        })
    }

    /// Returns the state of its session as the pool sees it, without asking the server. `None` if
    /// queries are not watched.
    pub(crate) fn state(&self) -> Option<SessionState> {
        let facts = self.facts.as_ref()?;
        Some(SessionState::seen(
            facts.queries_in_flight()?,
            facts.transaction(),
        ))
    }

    /// Returns the id of the trace that the checkout belongs to.
    pub(crate) fn trace(&self) -> Option<TraceId> {
        Some(self.span?.trace)
    }

    pub(crate) fn held(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.since)
    }
}

#[cfg(test)]
impl Holder {
    /// Creates a holder that begins now, did not wait, and has no other information.
    pub(crate) fn bare(checkout: Checkout) -> Self {
        Self {
            checkout,
            since: Instant::now(),
            at: 0,
            waited: Duration::ZERO,
            span: None,
            request: None,
            task: None,
            facts: None,
            busy_before: None,
            position: None,
            mark: Mark::default(),
            leak_reported: false,
        }
    }
}

/// Capacity above which the memory is freed when the last entry is removed, after a burst.
const KEPT: usize = 1024;

/// Entries found by key, without hashing. The key of a removed entry is reused.
pub(crate) struct Entries<T>(Slab<T>);

impl<T> Default for Entries<T> {
    fn default() -> Self {
        Self(Slab::new())
    }
}

impl<T> Entries<T> {
    #[inline]
    pub(crate) fn insert(&mut self, entry: T) -> u32 {
        self.0.insert(entry) as u32
    }

    #[inline]
    pub(crate) fn remove(&mut self, key: u32) -> Option<T> {
        let entry = self.0.try_remove(key as usize);
        // A burst of waiters must not keep its memory forever.
        if self.0.is_empty() && self.0.capacity() > KEPT {
            self.0 = Slab::new();
        }
        entry
    }

    pub(crate) fn get(&self, key: u32) -> Option<&T> {
        self.0.get(key as usize)
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

    pub(crate) fn iter_with_keys(&self) -> impl Iterator<Item = (u32, &T)> {
        self.0.iter().map(|(key, entry)| (key as u32, entry))
    }

    pub(crate) fn iter_mut(&mut self) -> impl Iterator<Item = &mut T> {
        self.0.iter_mut().map(|(_, entry)| entry)
    }
}

/// The holders and waiters of one pool.
#[derive(Default)]
pub(crate) struct Ledger {
    pub(crate) holders: Entries<Holder>,
    pub(crate) waiters: Waiters,
}

impl Ledger {
    /// Returns the holder whose hold began first.
    pub(crate) fn longest_holder(&self) -> Option<&Holder> {
        self.holders.iter().min_by_key(|holder| holder.since)
    }

    /// Returns when the newest hold began.
    pub(crate) fn newest_hold(&self) -> Option<Instant> {
        self.holders.iter().map(|holder| holder.since).max()
    }

    /// Returns what the holders do now.
    pub(crate) fn at_work(&self) -> AtWork {
        let mut all = AtWork {
            busy: Some(0),
            ..AtWork::default()
        };
        for holder in self.holders.iter() {
            let busy = holder.busy().map(nanos);
            all.busy = all.busy.zip(busy).map(|(all, busy)| all + busy);
            let in_transaction = match holder.state() {
                Some(SessionState::IdleInTransaction) => true,
                Some(SessionState::Idle | SessionState::IdleUnknown) => false,
                _ => continue,
            };
            all.idle += 1;
            all.idle_in_transaction += u32::from(in_transaction);
        }
        all
    }

    /// Returns how many checkouts wait in this phase.
    pub(crate) fn waiting_in(&self, phase: Phase) -> u32 {
        let waiters = self.waiters.iter();
        waiters
            .filter(|waiter| waiter.phase() == Some(phase))
            .count() as u32
    }

    /// Returns the waiter whose wait began first.
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
        fn entries_agree_with_a_map(steps in prop::collection::vec(prop_oneof![Just(None), (0_u32..3000).prop_map(Some)], 0..4000)) {
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
