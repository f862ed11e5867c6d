//! The accuracy of the advice, computed once a minute for all who read it.

use std::sync::{Mutex, PoisonError};

use crate::advise::Accuracy;

/// What was computed last, and how many minutes were complete then: there is nothing new before
/// another one is.
#[derive(Debug, Default)]
pub(super) struct Scored(Mutex<Option<(u64, Option<Accuracy>)>>);

impl Scored {
    /// Who comes while it is computed waits for it, rather than compute it too.
    pub(super) fn read(
        &self,
        complete: u64,
        compute: impl FnOnce() -> Option<Accuracy>,
    ) -> Option<Accuracy> {
        let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match *last {
            Some((then, accuracy)) if complete <= then => accuracy,
            _ => {
                let accuracy = compute();
                *last = Some((complete, accuracy));
                accuracy
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_computed_once_a_minute_also_when_there_is_nothing() {
        let scored = Scored::default();
        let mut times = 0;
        let mut read = |complete| {
            let nothing = scored.read(complete, || {
                times += 1;
                None
            });
            assert_eq!(nothing, None);
            times
        };
        assert_eq!([0, 0, 1, 1, 7].map(&mut read), [1, 1, 2, 2, 3]);
        assert_eq!(read(6), 3, "by a clock that was read before another's");
    }
}
