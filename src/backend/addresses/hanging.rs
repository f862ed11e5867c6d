//! Remembers which addresses did not answer, so that the next attempts try them last.

use std::fmt;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// How long an address is tried last.
const REMEMBERED: Duration = Duration::from_secs(10);

/// What let an attempt wait for its whole turn, recently.
///
/// Otherwise each new connection would first wait for the same silent address.
pub(in crate::backend) struct Hanging<K>(Mutex<Vec<(K, Instant)>>);

impl<K: PartialEq> Hanging<K> {
    /// Remembers that an attempt has timed out.
    pub(in crate::backend) fn timed_out(&self, key: K) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.retain(|(other, at)| *other != key && at.elapsed() < REMEMBERED);
        all.push((key, Instant::now()));
    }

    /// Forgets it: an attempt has got an answer.
    pub(in crate::backend) fn answered(&self, key: &K) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.retain(|(other, _)| other != key);
    }

    /// Moves those that timed out recently to the end, and leaves the order as it is otherwise.
    pub(in crate::backend) fn to_the_end<T>(&self, items: &mut [T], key: impl Fn(&T) -> K) {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        items.sort_by_key(|item| {
            let key = key(item);
            let mut recent = all.iter().filter(|(_, at)| at.elapsed() < REMEMBERED);
            recent.any(|(other, _)| *other == key)
        });
    }
}

impl<K> Default for Hanging<K> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<K> fmt::Debug for Hanging<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hanging").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn what_hangs_is_last_for_a_while_or_until_it_answers() {
        let hanging = Hanging::default();
        let order = || {
            let mut items = [1, 2, 3];
            hanging.to_the_end(&mut items, |&item| item);
            items
        };
        assert_eq!(order(), [1, 2, 3]);
        hanging.timed_out(1);
        assert_eq!(order(), [2, 3, 1]);
        hanging.timed_out(2);
        assert_eq!(order(), [3, 1, 2]);
        hanging.answered(&1);
        assert_eq!(order(), [1, 3, 2]);
        tokio::time::advance(REMEMBERED).await;
        assert_eq!(order(), [1, 2, 3]);
    }
}
