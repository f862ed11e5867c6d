//! Sums since the start and over the last minutes.

use std::collections::VecDeque;
use std::ops::Sub;
use std::time::Duration;

use tokio::time::Instant;

/// Time between two marks.
pub(crate) const STEP: Duration = Duration::from_secs(60);
/// Number of marks kept. They cover the last five to six minutes.
const MARKS: usize = 5;

/// A sum since the start.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Sum<T> {
    pub(crate) total: T,
    /// The part of the last five to six minutes.
    pub(crate) recent: T,
}

/// A sum that only grows, with its value at each of the last [`MARKS`] marks.
#[derive(Debug, Clone, Default)]
pub(crate) struct Recent<T> {
    pub(crate) total: T,
    marks: VecDeque<T>,
}

impl<T: Copy + Default + Sub<Output = T>> Recent<T> {
    pub(crate) fn read(&self) -> Sum<T> {
        let before = match self.marks.len() {
            MARKS => self.marks.front().copied(),
            _ => None,
        };
        Sum {
            total: self.total,
            recent: self.total - before.unwrap_or_default(),
        }
    }

    fn mark(&mut self) {
        if self.marks.len() == MARKS {
            self.marks.pop_front();
        }
        self.marks.push_back(self.total);
    }
}

/// The time of the next mark.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Marker(Instant);

impl Marker {
    pub(crate) fn new(now: Instant) -> Self {
        Self(now + STEP)
    }

    /// Sets the marks that are due.
    #[inline]
    pub(crate) fn advance<'a, T>(
        &mut self,
        now: Instant,
        all: impl Iterator<Item = &'a mut Recent<T>>,
    ) where
        T: Copy + Default + Sub<Output = T> + 'a,
    {
        if now < self.0 {
            return;
        }
        let due = 1 + (now.saturating_duration_since(self.0).as_secs() / STEP.as_secs()) as u32;
        self.0 += STEP * due;
        let due = (due as usize).min(MARKS);
        all.for_each(|tracked| (0..due).for_each(|_| tracked.mark()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn old_values_are_not_recent() {
        let start = Instant::now();
        let mut marker = Marker::new(start);
        let mut sums = [Recent::<u64>::default()];
        sums[0].total = 10;
        for minute in 1..=5 {
            marker.advance(start + STEP * minute, sums.iter_mut());
            assert_eq!(
                sums[0].read().recent,
                if minute < 5 { 10 } else { 0 },
                "{minute}"
            );
        }
        sums[0].total = 11;
        assert_eq!(sums[0].read().recent, 1);
        marker.advance(start + STEP * 60, sums.iter_mut());
        let (total, recent) = (11, 0);
        assert_eq!(sums[0].read(), Sum { total, recent });
    }
}
