//! Saying a thing at most once a second, and how often it was left unsaid.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

const PAUSE: Duration = Duration::from_secs(1);

/// Decides whether a thing that may happen often is said now.
#[derive(Debug)]
pub(crate) struct Seldom(Mutex<State>);

#[derive(Debug)]
struct State {
    said: Option<Instant>,
    unsaid: u64,
}

impl Default for Seldom {
    fn default() -> Self {
        Self::new()
    }
}

impl Seldom {
    pub(crate) const fn new() -> Self {
        Self(Mutex::new(State {
            said: None,
            unsaid: 0,
        }))
    }

    /// `Some` when it is time to say it, with how often it was left unsaid before.
    pub(crate) fn tell(&self, now: Instant) -> Option<u64> {
        self.tell_each(PAUSE, now)
    }

    /// The same with a pause of your own.
    pub(crate) fn tell_each(&self, pause: Duration, now: Instant) -> Option<u64> {
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
    fn once_a_second_with_the_number_of_the_others() {
        let (seldom, start) = (Seldom::default(), Instant::now());
        assert_eq!(seldom.tell(start), Some(0));
        assert_eq!(seldom.tell(start), None);
        assert_eq!(seldom.tell(start + PAUSE / 2), None);
        assert_eq!(seldom.tell(start + PAUSE), Some(2));
        assert_eq!(seldom.tell(start + PAUSE * 3), Some(0));
    }
}
