//! Limits a log event to one per second, and counts the events left out.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

const PAUSE: Duration = Duration::from_secs(1);

/// Rate limiter of a log event.
#[derive(Debug, Default)]
pub(crate) struct LogLimiter(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    said: Option<Instant>,
    unsaid: u64,
}

impl LogLimiter {
    /// Returns whether to log the event now: `Some` with the number of events left out since the last
    /// one logged, or `None` if that one was logged less than a second ago.
    pub(crate) fn try_log(&self, now: Instant) -> Option<u64> {
        self.try_log_every(PAUSE, now)
    }

    /// Like [`try_log`](Self::try_log), with another minimum time between two events.
    pub(crate) fn try_log_every(&self, pause: Duration, now: Instant) -> Option<u64> {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if state
            .said
            .is_some_and(|said| now.saturating_duration_since(said) < pause)
        {
            state.unsaid += 1;
            return None;
        }
        state.said = Some(now);
        Some(std::mem::take(&mut state.unsaid))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_event_per_second_has_the_number_of_those_left_out() {
        let (limiter, start) = (LogLimiter::default(), Instant::now());
        assert_eq!(limiter.try_log(start), Some(0));
        assert_eq!(limiter.try_log(start), None);
        assert_eq!(limiter.try_log(start + PAUSE / 2), None);
        assert_eq!(limiter.try_log(start + PAUSE), Some(2));
        assert_eq!(limiter.try_log(start + PAUSE * 3), Some(0));
    }
}
