//! Finds the holds that a checkout has waited for: those out now, and a bounded number of recent ones.
//!
//! Both integrals of [`Blame`](crate::record::blame::Blame) stand still while nobody queues, so the overlap
//! of a wait and a hold is a difference of two readings, too. What the holds owe to one wait sums to the
//! time that it has queued, unless the recent holds do not reach back far enough.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use foldhash::fast::FixedState;
use tokio::time::Instant;

use crate::error::MostBlamed;
use crate::record::blame::Owed;
use crate::record::clock::SECOND;
use crate::record::debt::{Debt, Debts, SLOT};
use crate::record::ledger::{Holder, SpanRef};
use crate::record::recorder::{PoolState, Recorder};
use crate::record::usage::{Site, SiteId};
use crate::record::waiters::Waiter;

/// Maximum number of recent holds kept.
const KEPT: usize = 512;

/// Maximum number of links from a wait to the holds that it waited for.
const LINKS: usize = 4;

/// Maximum number of pairs of call sites recorded separately. Further ones share one entry.
const PAIRS: usize = 256;

/// How long all holds are kept after somebody has looked at them.
const WATCHED: u64 = 60 * SECOND;

/// A hold that has ended. Times are nanoseconds of the pool's [clock](crate::record::clock).
#[derive(Debug, Clone, Copy)]
pub(crate) struct PastHold {
    /// The number of the connection within its pool; `None` if it has none.
    pub(crate) connection: Option<u64>,
    pub(crate) site: SiteId,
    pub(crate) span: Option<SpanRef>,
    pub(crate) from: u64,
    pub(crate) until: u64,
    pub(crate) busy: Option<Duration>,
    /// The readings of [`Mark::each`](crate::record::blame::Mark::each) at its beginning and at its end.
    pub(super) each: (Owed, Owed),
    /// What it owes to all checkouts that have queued.
    pub(crate) owed: Owed,
}

/// The recent holds that owe something, in the order of their ends. All recent holds while somebody looks
/// at them.
#[derive(Debug, Default)]
pub(crate) struct PastHolds {
    ring: VecDeque<PastHold>,
    watched_until: u64,
}

impl PastHolds {
    /// Returns whether a hold that ends at `now` is kept, even if it owes nothing.
    pub(super) fn are_watched(&self, now: u64) -> bool {
        now < self.watched_until
    }

    pub(super) fn push(&mut self, hold: PastHold) {
        if self.ring.len() == KEPT {
            self.ring.pop_front();
        }
        self.ring.push_back(hold);
    }

    /// Returns the holds, the latest first. From now on and for a minute, all holds are kept.
    pub(crate) fn watch(&mut self, now: u64) -> impl Iterator<Item = &PastHold> {
        self.watched_until = now + WATCHED;
        self.ring.iter().rev()
    }
}

/// What holds of one call site owe to slow and failed waits of another. The first of a pair is the one that
/// has waited.
#[derive(Debug, Default)]
pub(crate) struct Pairs(HashMap<(SiteId, SiteId), Debts, FixedState>);

impl Pairs {
    fn add(&mut self, pair: (SiteId, SiteId), slot: u64, debt: Debt) {
        let full = self.0.len() >= PAIRS && !self.0.contains_key(&pair);
        let pair = if full {
            (SiteId::OTHER, SiteId::OTHER)
        } else {
            pair
        };
        self.0.entry(pair).or_default().add(slot, debt);
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = ((SiteId, SiteId), &Debts)> {
        self.0.iter().map(|(pair, debts)| (*pair, debts))
    }
}

/// The holds that a checkout has waited for.
#[derive(Debug, Default)]
pub(crate) struct Culprits {
    /// What holds of each call site owe to this wait, the most first.
    pub(crate) sites: Vec<(Site, Debt)>,
    /// The holds with a span that owe most to this wait, the most first.
    pub(crate) links: Vec<(SpanRef, Site, Owed)>,
}

impl Culprits {
    /// Returns the call site whose holds owe most to this wait.
    pub(crate) fn most_blamed(&self) -> Option<MostBlamed> {
        let all: Owed = self.sites.iter().map(|(_, debt)| debt.owed).sum();
        let (site, debt) = self.sites.first()?;
        Some(MostBlamed {
            call_site: site.name(),
            share: debt.owed.seconds() / all.seconds(),
            idle_share: debt.idle_share(),
        })
    }
}

/// A hold that a wait may overlap.
struct Suspect {
    site: SiteId,
    span: Option<SpanRef>,
    each: (Owed, Owed),
    held: Duration,
    busy: Option<Duration>,
}

impl Suspect {
    fn past(hold: &PastHold) -> Self {
        Self {
            site: hold.site,
            span: hold.span,
            each: hold.each,
            held: Duration::from_nanos(hold.until.saturating_sub(hold.from)),
            busy: hold.busy,
        }
    }

    fn now(holder: &Holder, site: SiteId, each: Owed, now: Instant) -> Self {
        Self {
            site,
            span: holder.span,
            each: (holder.mark.each, each),
            held: holder.held(now),
            busy: holder.busy(),
        }
    }
}

impl PoolState {
    fn culprits(&mut self, waiter: &Waiter, now: Instant) -> Culprits {
        let each = self.blame.mark().each;
        let (from, until) = (waiter.queued.0, waiter.queued.1.unwrap_or(each));
        if until <= from {
            return Culprits::default();
        }
        let Self {
            ledger,
            usage,
            past_holds,
            ..
        } = self;
        let current = ledger.holders.iter().map(|holder| {
            let site = usage.id(holder.checkout, holder.route());
            Suspect::now(holder, site, each, now)
        });
        let past = past_holds.ring.iter().rev();
        let past = past.take_while(|hold| hold.each.1 > from);
        let mut sites: Vec<(SiteId, Debt)> = Vec::new();
        let mut links: Vec<(SpanRef, SiteId, Owed)> = Vec::with_capacity(LINKS + 1);
        for suspect in current.chain(past.map(Suspect::past)) {
            let owed = suspect.each.1.min(until).since(suspect.each.0.max(from));
            if owed == Owed::ZERO {
                continue;
            }
            let debt = Debt::of(owed, suspect.held, suspect.busy);
            match sites.iter_mut().find(|(site, _)| *site == suspect.site) {
                Some((_, sum)) => *sum += debt,
                None => sites.push((suspect.site, debt)),
            }
            if let Some(span) = suspect.span {
                let place = links.partition_point(|(_, _, more)| *more >= owed);
                links.insert(place, (span, suspect.site, owed));
                links.truncate(LINKS);
            }
        }
        let slot = self.blame.at() / SLOT;
        for (holding, debt) in &sites {
            self.pairs.add((waiter.site, *holding), slot, *debt);
        }
        sites.sort_by_key(|(_, debt)| std::cmp::Reverse(debt.owed));
        let named = |site: SiteId| self.usage.site(site).clone();
        Culprits {
            sites: sites.iter().map(|(it, debt)| (named(*it), *debt)).collect(),
            links: links
                .iter()
                .map(|(span, site, owed)| (*span, named(*site), *owed))
                .collect(),
        }
    }
}

impl Recorder {
    /// Returns the holds that a checkout has waited for, and records them by call site. Called once for a
    /// wait that was slow or has failed, before its end is recorded.
    pub(crate) fn culprits(&self, waiter: u32, now: Instant) -> Culprits {
        let mut state = self.state();
        state.owe(self.clock.at(now));
        match state.ledger.waiters.get(waiter).copied() {
            Some(waiter) => state.culprits(&waiter, now),
            None => Culprits::default(),
        }
    }
}
