//! Divides the time that checkouts queue among the connections that are out.
//!
//! While P checkouts queue and N connections are out, each of the N owes P/N of the time that passes.
//! (That is its Shapley value, because all N are needed for anybody to wait.) A hold owes the integral of
//! P/N from its grant to its return, so two readings of one integral are enough, whatever happens in
//! between. By construction, all holds together owe the time queued.

use std::iter::Sum;
use std::ops::{Add, AddAssign, Mul, Sub};

/// The number of bits for the fraction of a nanosecond. One event rounds by less than the last of them.
const FRACTION: u32 = 32;

/// Time that a hold owes to checkouts that queue, in units of 2^-32 ns.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Owed(u128);

impl Owed {
    pub(crate) const ZERO: Self = Self(0);

    /// Returns a time in nanoseconds, divided by `shares`.
    fn divided(nanos: u64, shares: u32) -> Self {
        let shares = u64::from(shares);
        // The remainder is below 2^32, so its fraction fits.
        let fraction = ((nanos % shares) << FRACTION) / shares;
        Self(u128::from(nanos / shares) << FRACTION | u128::from(fraction))
    }

    /// Returns the time in seconds.
    pub(crate) fn seconds(self) -> f64 {
        self.0 as f64 / (1_u64 << FRACTION) as f64 / 1e9
    }

    /// Returns this time less an earlier reading; zero if the other is later.
    pub(crate) fn since(self, earlier: Self) -> Self {
        Self(self.0.saturating_sub(earlier.0))
    }

    /// Returns the part `numerator / denominator` of this time, rounded down.
    pub(crate) fn part(self, numerator: u64, denominator: u64) -> Self {
        if numerator >= denominator {
            return self;
        }
        let share = (u128::from(numerator) << FRACTION) / u128::from(denominator);
        let (whole, rest) = (self.0 >> FRACTION, self.0 & u128::from(u32::MAX));
        Self(whole * share + ((rest * share) >> FRACTION))
    }
}

impl Add for Owed {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self(self.0 + other.0)
    }
}

impl AddAssign for Owed {
    fn add_assign(&mut self, other: Self) {
        self.0 += other.0;
    }
}

impl Sub for Owed {
    type Output = Self;

    fn sub(self, other: Self) -> Self {
        Self(self.0 - other.0)
    }
}

impl Mul<u32> for Owed {
    type Output = Self;

    fn mul(self, times: u32) -> Self {
        Self(self.0 * u128::from(times))
    }
}

impl Sum for Owed {
    fn sum<I: Iterator<Item = Self>>(all: I) -> Self {
        all.fold(Self::ZERO, Add::add)
    }
}

/// A reading of the integrals. Neither goes back.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Mark {
    /// The integral of P/N: what a connection owes that is out all the time.
    pub(crate) owed: Owed,
    /// The integral of 1/N while anybody queues: what a connection owes to one checkout if both are there
    /// all the time.
    pub(crate) each: Owed,
}

/// The integrals of one pool, and what they are made of. Times are nanoseconds of the pool's
/// [clock](crate::record::clock).
#[derive(Debug, Default)]
pub(crate) struct Blame {
    /// The checkouts that queue, and the connections out, since [`at`](Self::at).
    queued: u32,
    out: u32,
    /// The time up to which the integrals are computed. Not kept while nobody queues.
    at: u64,
    mark: Mark,
    /// The time queued while no connection was out, or while the pool was suspended.
    nobodys: Owed,
}

impl Blame {
    /// Returns whether anybody queues.
    #[inline]
    pub(crate) fn is_due(&self) -> bool {
        self.queued > 0
    }

    /// Returns the time of the last reading that was not the same as the one before.
    pub(crate) fn at(&self) -> u64 {
        self.at
    }

    #[inline]
    pub(crate) fn mark(&self) -> Mark {
        self.mark
    }

    /// Returns the time queued that no hold owes.
    pub(crate) fn nobodys(&self) -> Owed {
        self.nobodys
    }

    /// Computes the integrals up to `now`. An earlier time changes nothing.
    pub(crate) fn advance(&mut self, now: u64) {
        if self.queued == 0 {
            return;
        }
        let passed = now.saturating_sub(self.at);
        self.at += passed;
        match self.out {
            0 => self.nobodys += Owed::divided(passed, 1) * self.queued,
            out => {
                let each = Owed::divided(passed, out);
                self.mark.each += each;
                self.mark.owed += each * self.queued;
            }
        }
    }

    /// Sets how many checkouts queue, and how many connections are out, from `now` on. The integrals must
    /// have been [computed](Self::advance) up to `now`.
    pub(crate) fn set(&mut self, now: u64, queued: u32, out: u32) {
        if self.queued == 0 {
            self.at = self.at.max(now);
        }
        (self.queued, self.out) = (queued, out);
    }
}

#[cfg(test)]
mod tests;
