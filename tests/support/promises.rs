//! Answers that are promised within some milliseconds, on machines that run other things too.

use std::time::{Duration, Instant};

use tokio::time::sleep;

const TRIES: usize = 5;

/// What the database has answered is told to all who ask within a second: after this, it is asked
/// again.
pub const NO_OLD_ANSWER: Duration = Duration::from_millis(1100);

/// Asks up to five times, until an answer comes within the promise: a busy machine is slow at
/// times, a broken promise is broken each time. None may take as long as `ceiling`.
pub async fn promised<T>(
    what: &str,
    promise: Duration,
    ceiling: Duration,
    mut ask: impl AsyncFnMut() -> T,
) -> T {
    let mut tries = Vec::new();
    loop {
        let start = Instant::now();
        let answer = ask().await;
        let took = start.elapsed();
        assert!(took < ceiling, "{what} took {took:?}");
        if took < promise {
            return answer;
        }
        tries.push(took);
        assert!(
            tries.len() < TRIES,
            "{what} is promised within {promise:?}, and took {tries:?}"
        );
        sleep(NO_OLD_ANSWER).await;
    }
}
