//! Waits for effects. No test depends on how fast the machine is.

use std::fmt::Debug;
use std::future::Future;
use std::time::Duration;

use tokio::time::{Instant, sleep, timeout};

/// Long enough for the slowest machine. A test that waits this long has failed.
pub const PATIENCE: Duration = Duration::from_secs(120);

/// Ten times the longest promise of the pool, which is one second.
pub const SOON: Duration = Duration::from_secs(10);

/// Longer than the second for which reports share a response of the database.
pub const NO_OLD_ANSWER: Duration = Duration::from_millis(1100);

const PAUSE: Duration = Duration::from_millis(10);

/// Repeats `ask` until its result is as expected.
///
/// # Panics
/// After [`PATIENCE`].
pub async fn until<T: Debug>(
    what: &str,
    mut ask: impl AsyncFnMut() -> T,
    is_so: impl Fn(&T) -> bool,
) -> T {
    found(what, async || {
        let answer = ask().await;
        if is_so(&answer) {
            return Ok(answer);
        }
        Err(format!("{answer:#?}"))
    })
    .await
}

/// Repeats `look` until it succeeds. An error describes what is there instead.
///
/// # Panics
/// After [`PATIENCE`].
pub async fn found<T>(what: &str, mut look: impl AsyncFnMut() -> Result<T, String>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match look().await {
            Ok(found) => return found,
            Err(instead) => {
                let late = Instant::now() >= deadline;
                assert!(!late, "not within {PATIENCE:?}: {what}; instead: {instead}");
            }
        }
        sleep(PAUSE).await;
    }
}

/// Waits for a future.
///
/// # Panics
/// After [`PATIENCE`].
pub async fn within_patience<F: Future>(what: &str, future: F) -> F::Output {
    within(PATIENCE, what, future).await
}

/// Waits for a future that should end within a second.
///
/// # Panics
/// After [`SOON`].
pub async fn soon<F: Future>(what: &str, future: F) -> F::Output {
    within(SOON, what, future).await
}

async fn within<F: Future>(ceiling: Duration, what: &str, future: F) -> F::Output {
    let outcome = timeout(ceiling, future).await;
    outcome.unwrap_or_else(|_| panic!("not within {ceiling:?}: {what}"))
}
