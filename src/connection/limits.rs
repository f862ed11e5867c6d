//! The pool's size and overflow, which can change at run time.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use crate::record::pool_events::CloseReason;

/// Size and overflow, packed into one word so that a read is consistent.
#[derive(Debug)]
pub(super) struct Limits {
    word: AtomicU64,
    /// The number of open connections that a resize made surplus: without it, they would have been
    /// kept.
    surplus: AtomicU32,
}

fn pack(size: u32, overflow: u32) -> u64 {
    u64::from(size) << 32 | u64::from(overflow)
}

impl Limits {
    pub(super) fn new(size: u32, overflow: u32) -> Self {
        Self {
            word: AtomicU64::new(pack(size, overflow)),
            surplus: AtomicU32::new(0),
        }
    }

    /// Returns `(size, overflow)`.
    #[inline]
    pub(super) fn read(&self) -> (u32, u32) {
        let word = self.word.load(Ordering::Acquire);
        ((word >> 32) as u32, word as u32)
    }

    /// Returns the maximum number of open connections.
    pub(super) fn most(&self) -> u32 {
        let (size, overflow) = self.read();
        size.saturating_add(overflow)
    }

    /// Sets size and overflow while `open` connections are open.
    pub(super) fn set(&self, size: u32, overflow: u32, open: u32) {
        let before = self.word.swap(pack(size, overflow), Ordering::AcqRel);
        let stayed = open.min((before >> 32) as u32);
        let surplus = stayed.saturating_sub(size);
        let _ = self
            .surplus
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, |old| {
                // After two shrinks, the first surplus may still be open. After a growth, it is kept.
                let rest = old.min(open.saturating_sub(size + surplus.min(open)));
                Some(surplus + rest)
            });
    }

    /// Returns why a connection closes that cannot be kept as idle.
    pub(super) fn reason_beyond(&self) -> CloseReason {
        let resized = self
            .surplus
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, |surplus| {
                surplus.checked_sub(1)
            });
        match resized {
            Ok(_) => CloseReason::Resize,
            Err(_) => CloseReason::Overflow,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reasons(limits: &Limits, closings: usize) -> usize {
        (0..closings)
            .filter(|_| limits.reason_beyond() == CloseReason::Resize)
            .count()
    }

    #[test]
    fn only_the_surplus_of_a_resize_closes_because_of_it() {
        let limits = Limits::new(10, 5);
        assert_eq!((limits.read(), limits.most()), ((10, 5), 15));
        // 13 are open; 3 of them were overflow before.
        limits.set(4, 11, 13);
        assert_eq!(limits.read(), (4, 11));
        assert_eq!(reasons(&limits, 9), 6);
        limits.set(2, 0, 4);
        assert_eq!(reasons(&limits, 4), 2);
    }

    #[test]
    fn the_surplus_adds_up_over_two_shrinks_and_ends_with_a_growth() {
        let limits = Limits::new(10, 0);
        limits.set(6, 0, 10);
        limits.set(4, 0, 10);
        assert_eq!(reasons(&limits, 10), 6);
        limits.set(10, 0, 4);
        limits.set(6, 0, 10);
        limits.set(10, 0, 10);
        assert_eq!(reasons(&limits, 3), 0);
    }
}
