//! Keeps what holders owe up to date with the holders and the waiters of a pool.
//!
//! A hold's part of the [`Blame`](crate::record::blame::Blame) is added to its call site when it ends, and
//! in between at the end of each slot of the windows, so that a long hold counts in each window by what it
//! came to owe then. While nobody queues, nothing is owed, and a checkout pays for comparisons only.

use std::collections::HashMap;
use std::time::Duration;

use crate::record::blame::Owed;
use crate::record::culprits::PastHold;
use crate::record::debt::{Debt, Over, SLOT};
use crate::record::inventory::Availability;
use crate::record::ledger::Holder;
use crate::record::recorder::{PoolState, Recorder};
use crate::record::usage::{Site, SiteId};

/// Slots that have ended without an event are settled one by one up to this number. It is more than the
/// longest window has.
const MISSED: u64 = 64;

impl PoolState {
    /// Computes what is owed up to `now`. Called before each change of the holders and the waiters.
    #[inline]
    pub(crate) fn owe(&mut self, now: u64) {
        if self.blame.is_due() {
            self.catch_up(now);
        }
    }

    #[inline(never)]
    fn catch_up(&mut self, now: u64) {
        let slot = |at: u64| at / SLOT;
        if slot(self.blame.at()) < slot(now) {
            self.end_slots(now);
        }
        self.advance(now);
    }

    /// Settles the slots that have ended.
    #[cold]
    fn end_slots(&mut self, now: u64) {
        let skipped = (now / SLOT).saturating_sub(MISSED) * SLOT;
        if skipped > self.blame.at() {
            self.advance(skipped);
        }
        while self.blame.at() / SLOT < now / SLOT {
            let slot = self.blame.at() / SLOT;
            let end = (slot + 1) * SLOT;
            self.advance_in(slot, end);
            self.settle(slot, now);
        }
    }

    fn advance(&mut self, now: u64) {
        self.advance_in(now / SLOT, now);
    }

    fn advance_in(&mut self, slot: u64, now: u64) {
        let before = self.blame.nobodys();
        self.blame.advance(now);
        let owed = self.blame.nobodys() - before;
        if owed > Owed::ZERO {
            self.nobodys.add(
                slot,
                Debt {
                    owed,
                    ..Debt::default()
                },
            );
        }
    }

    /// Adds what the current holders owe to their call sites. It became owed in this slot.
    fn settle(&mut self, slot: u64, now: u64) {
        let all = self.blame.mark().owed;
        for holder in self.ledger.holders.iter() {
            let owed = all.since(holder.mark.owed.max(self.settled));
            if owed > Owed::ZERO {
                let site = self.usage.id(holder.checkout, holder.route());
                let held = Duration::from_nanos(now.saturating_sub(holder.at));
                self.usage
                    .owes(site, slot, Debt::of(owed, held, holder.busy()));
            }
        }
        self.settled = all;
    }

    /// Adds what a hold that ends owes and is not settled yet. Keeps the hold, if it owes anything.
    #[inline]
    pub(crate) fn paid(
        &mut self,
        holder: &Holder,
        site: SiteId,
        until: u64,
        busy: Option<Duration>,
    ) {
        if self.blame.mark() != holder.mark || self.past_holds.are_watched(until) {
            self.pay(holder, site, until, busy);
        }
    }

    #[inline(never)]
    fn pay(&mut self, holder: &Holder, site: SiteId, until: u64, busy: Option<Duration>) {
        let mark = self.blame.mark();
        let owed = mark.owed.since(holder.mark.owed);
        let held = Duration::from_nanos(until.saturating_sub(holder.at));
        let rest = mark.owed.since(holder.mark.owed.max(self.settled));
        // It became owed when the integral last grew.
        let slot = self.blame.at() / SLOT;
        if rest > Owed::ZERO {
            self.usage.owes(site, slot, Debt::of(rest, held, busy));
        }
        self.past_holds.push(PastHold {
            connection: holder.connection(),
            site,
            span: holder.span,
            from: holder.at,
            until,
            busy,
            each: (holder.mark.each, mark.each),
            owed,
        });
    }
}

/// What is owed within a window.
#[derive(Debug, Clone, Default)]
pub(crate) struct Owing {
    /// What holds of each call site owe.
    pub(crate) sites: HashMap<Site, Debt>,
    /// The part of the time queued that no hold owes.
    pub(crate) nobodys: Owed,
    /// The part that holds of the second call site owe to slow and failed waits of the first.
    pub(crate) pairs: HashMap<(Site, Site), Owed>,
}

impl Owing {
    /// Returns the time queued.
    pub(crate) fn queued(&self) -> Owed {
        self.sites.values().map(|debt| debt.owed).sum::<Owed>() + self.nobodys
    }
}

impl Recorder {
    /// Records who owes from `now` on.
    #[inline]
    pub(crate) fn level_blame(&self, state: &mut PoolState, now: u64) {
        if state.blame.is_due() || state.ledger.waiters.len() > 0 {
            self.share(state, now);
        }
    }

    #[inline(never)]
    fn share(&self, state: &mut PoolState, now: u64) {
        let due = state.blame.is_due();
        state.owe(now);
        let queued = state.ledger.waiters.queued(|| {
            let counts = self.counts();
            counts.checked_out() >= counts.max_connections()
        });
        if !due && queued > 0 {
            // What became owed before belongs to that slot.
            let slot = state.blame.at() / SLOT;
            if slot < now / SLOT {
                state.settle(slot, now);
            }
            self.look_if_open(state);
        }
        let out = match state.is_open {
            true => state.ledger.holders.len(),
            false => 0,
        };
        state.blame.set(now, queued, out);
    }

    fn look_if_open(&self, state: &mut PoolState) {
        state.is_open = self.inventory.availability() == Availability::Open;
    }

    /// Records that the pool was suspended, resumed or closed: what checkouts queue for while it is not
    /// open is nobody's blame.
    pub(crate) fn availability_changed(&self) {
        let now = self.clock.now();
        let mut state = self.state();
        state.owe(now);
        self.look_if_open(&mut state);
        self.level_blame(&mut state, now);
    }

    /// Returns what is owed within each of the windows, up to now.
    pub(crate) fn owing<const N: usize>(&self, windows: [Over; N]) -> [Owing; N] {
        let now = self.clock.now();
        let mut state = self.state();
        state.owe(now);
        let last = state.blame.at() / SLOT;
        state.settle(last, now);
        let slot = now / SLOT;
        windows.map(|window| {
            let mut owing = Owing {
                nobodys: state.nobodys.over(slot, window).owed,
                ..Owing::default()
            };
            for (site, debts) in state.usage.debts() {
                let debt = debts.over(slot, window);
                *owing.sites.entry(site.clone()).or_default() += debt;
            }
            for ((waiting, holding), debts) in state.pairs.iter() {
                let owed = debts.over(slot, window).owed;
                if owed > Owed::ZERO {
                    let pair = [waiting, holding].map(|id| state.usage.site(id).clone());
                    *owing.pairs.entry(pair.into()).or_default() += owed;
                }
            }
            owing
        })
    }
}

#[cfg(test)]
mod tests;
