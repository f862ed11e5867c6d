//! The accuracy of the advice, computed at most once a minute for all who read it.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use crate::advise::Accuracy;

/// A minute is compared when it is complete, so there is nothing new before the next one is.
const MINUTE: Duration = Duration::from_secs(60);

/// What was computed last, and when.
#[derive(Debug, Default)]
pub(super) struct Scored(Mutex<Option<(Instant, Option<Accuracy>)>>);

impl Scored {
    /// Who comes while it is computed waits for it, rather than compute it too.
    pub(super) fn read(
        &self,
        now: Instant,
        compute: impl FnOnce() -> Option<Accuracy>,
    ) -> Option<Accuracy> {
        let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match *last {
            Some((at, accuracy)) if now.saturating_duration_since(at) < MINUTE => accuracy,
            _ => {
                let accuracy = compute();
                *last = Some((now, accuracy));
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
        let (scored, start) = (Scored::default(), Instant::now());
        let mut times = 0;
        let mut read = |now| {
            let nothing = scored.read(now, || {
                times += 1;
                None
            });
            assert_eq!(nothing, None);
            times
        };
        assert_eq!(read(start), 1);
        assert_eq!(read(start + MINUTE / 2), 1);
        assert_eq!(read(start + MINUTE), 2);
        assert_eq!(read(start), 2, "a clock that was read before the other");
    }
}
