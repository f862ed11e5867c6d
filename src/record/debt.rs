//! What a call site owes to the checkouts that queued behind its holds: in total, and over the last minutes.

use std::collections::VecDeque;
use std::ops::AddAssign;
use std::time::Duration;

use crate::record::blame::Owed;
use crate::record::clock::{MINUTE, SECOND, nanos};

/// Length of a slot of the windows.
pub(crate) const SLOT: u64 = 5 * SECOND;
/// Number of complete slots kept, which are the longest window.
const SLOTS: u64 = 5 * MINUTE / SLOT;

/// Time owed.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct Debt {
    pub(crate) owed: Owed,
    /// The part of it that holds owe whose busy time is known.
    pub(crate) measured: Owed,
    /// The part of [`measured`](Self::measured) in which the database did nothing for the hold.
    pub(crate) avoidable: Owed,
}

impl Debt {
    /// Divides what a hold owes by the share of the time held in which the database was at work.
    pub(crate) fn of(owed: Owed, held: Duration, busy: Option<Duration>) -> Self {
        let Some(busy) = busy else {
            return Self {
                owed,
                ..Self::default()
            };
        };
        let (held, busy) = (nanos(held), nanos(busy));
        Self {
            owed,
            measured: owed,
            avoidable: owed.part(held.saturating_sub(busy), held),
        }
    }
}

impl Debt {
    /// Returns the avoidable share (0 to 1) of what is measured; `None` if nothing is.
    pub(crate) fn idle_share(&self) -> Option<f64> {
        (self.measured > Owed::ZERO).then(|| self.avoidable.seconds() / self.measured.seconds())
    }
}

impl AddAssign for Debt {
    fn add_assign(&mut self, other: Self) {
        self.owed += other.owed;
        self.measured += other.measured;
        self.avoidable += other.avoidable;
    }
}

/// A window of the sums.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Over {
    Minute,
    FiveMinutes,
    /// Since the start.
    Life,
}

/// Time owed, in total and over the last minutes. Takes memory for the slots in which something was owed.
#[derive(Debug, Clone, Default)]
pub(crate) struct Debts {
    total: Debt,
    /// The slots with their numbers, the newest last.
    slots: VecDeque<(u64, Debt)>,
}

impl Debts {
    /// Adds what became owed in the slot with this number, which is not before the last.
    pub(crate) fn add(&mut self, slot: u64, debt: Debt) {
        self.total += debt;
        match self.slots.back_mut() {
            Some((last, sum)) if *last >= slot => *sum += debt,
            _ => {
                while self
                    .slots
                    .front()
                    .is_some_and(|(old, _)| old + SLOTS < slot)
                {
                    self.slots.pop_front();
                }
                self.slots.push_back((slot, debt));
            }
        }
    }

    /// Returns whether nothing was ever owed.
    pub(crate) fn are_empty(&self) -> bool {
        self.slots.is_empty()
    }

    /// Returns what became owed in a window that ends with the slot `now`. It covers the time in its name
    /// in whole slots, and the current slot.
    pub(crate) fn over(&self, now: u64, window: Over) -> Debt {
        let slots = match window {
            Over::Life => return self.total,
            Over::FiveMinutes => SLOTS,
            Over::Minute => MINUTE / SLOT,
        };
        let recent = self.slots.iter().rev();
        let recent = recent.take_while(|(slot, _)| slot + slots >= now);
        let mut sum = Debt::default();
        recent.for_each(|(_, debt)| sum += *debt);
        sum
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::blame::Blame;

    fn owed(seconds: u64) -> Owed {
        let mut blame = Blame::default();
        blame.set(0, 1, 1);
        blame.advance(seconds * SECOND);
        blame.mark().owed
    }

    fn debt(seconds: u64) -> Debt {
        Debt {
            owed: owed(seconds),
            ..Debt::default()
        }
    }

    #[test]
    fn what_the_database_worked_is_not_avoidable() {
        let second = Duration::from_secs(1);
        let unknown = Debt::of(owed(8), 4 * second, None);
        assert_eq!((unknown.owed, unknown.measured), (owed(8), Owed::ZERO));
        for (busy, avoidable) in [(0, 8), (1, 6), (4, 0), (5, 0)] {
            let debt = Debt::of(owed(8), 4 * second, Some(busy * second));
            assert_eq!((debt.owed, debt.measured), (owed(8), owed(8)));
            assert_eq!(debt.avoidable, owed(avoidable), "{busy}");
        }
        // Years of both.
        let year = 365 * 24 * 3600;
        let debt = Debt::of(owed(year), 3 * year as u32 * second, Some(second));
        assert!((debt.avoidable.seconds() / year as f64 - 1.0).abs() < 1e-6);
        assert_eq!(
            Debt::of(owed(1), Duration::ZERO, Some(Duration::ZERO)).avoidable,
            owed(1)
        );
    }

    #[test]
    fn each_window_drops_older_debts() {
        let mut debts = Debts::default();
        let seen = |debts: &Debts, now| {
            [Over::Minute, Over::FiveMinutes, Over::Life].map(|it| debts.over(now, it).owed)
        };
        debts.add(0, debt(1));
        debts.add(0, debt(1));
        debts.add(10, debt(1));
        assert_eq!(seen(&debts, 10), [3, 3, 3].map(owed));
        assert_eq!(seen(&debts, 12), [3, 3, 3].map(owed));
        assert_eq!(seen(&debts, 13), [1, 3, 3].map(owed));
        assert_eq!(seen(&debts, 23), [0, 3, 3].map(owed));
        assert_eq!(seen(&debts, 61), [0, 1, 3].map(owed));
        assert_eq!(seen(&debts, 1000), [0, 0, 3].map(owed));
        (1..1000).for_each(|slot| debts.add(10 + slot, debt(1)));
        assert_eq!(seen(&debts, 1009), [13, 61, 1002].map(owed));
        assert!(debts.slots.len() <= 61, "{}", debts.slots.len());
    }
}
