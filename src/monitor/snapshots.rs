//! The answers for the page, each made at most once a second and shared by all who ask.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use tokio::time::Instant;

/// How long an answer is used.
const AGE: Duration = Duration::from_secs(1);

/// What can be asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// The page itself.
    Page,
    /// Its data, with the last samples of the hour.
    Latest,
    /// Its data, with the whole hour.
    Whole,
}

/// The last answers of one monitor and its clones, which may differ in whether they show source lines.
#[derive(Debug, Default)]
pub(super) struct Snapshots([[Mutex<Option<Made>>; 2]; 3]);

/// An answer, and when it was begun.
type Made = (Instant, Bytes);

impl Snapshots {
    /// Returns the last answer, or makes a new one if that is too old.
    pub(super) fn get(
        &self,
        kind: Kind,
        source_lines: bool,
        make: impl FnOnce() -> Vec<u8>,
    ) -> Bytes {
        let last = &self.0[kind as usize][usize::from(source_lines)];
        let mut last = last.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        match &*last {
            Some((at, answer)) if now.saturating_duration_since(*at) < AGE => answer.clone(),
            _ => {
                let answer = Bytes::from(make());
                *last = Some((now, answer.clone()));
                answer
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::time::advance;

    #[tokio::test(start_paused = true)]
    async fn an_answer_is_shared_for_a_second() {
        let snapshots = Snapshots::default();
        let mut made = 0;
        let mut get = |kind, source_lines| {
            snapshots.get(kind, source_lines, || {
                made += 1;
                vec![made]
            })[0]
        };
        assert_eq!(get(Kind::Latest, true), 1);
        advance(AGE - Duration::from_millis(1)).await;
        assert_eq!(get(Kind::Latest, true), 1);
        assert_eq!(get(Kind::Latest, false), 2, "other viewers see less");
        assert_eq!(get(Kind::Whole, true), 3);
        advance(Duration::from_millis(1)).await;
        assert_eq!(get(Kind::Latest, true), 4);
        assert_eq!(get(Kind::Latest, false), 2);
    }
}
