//! Opens connections before they are needed.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, timeout_at};

use super::own_pool::OwnShared;
use crate::backend::{Backend, ConnectError, ConnectErrorKind};

/// The pause before a retry.
const PAUSE: Duration = Duration::from_millis(100);

const LONGEST: Duration = Duration::from_secs(100 * 365 * 24 * 3600);

/// The result of a [`Pool::warm_up`](crate::Pool::warm_up).
#[non_exhaustive]
#[derive(Debug, Clone)]
pub struct WarmUp {
    /// The number of connections that the warm-up opened.
    pub opened: u32,
    /// The number of connections that the warm-up did not open in time.
    pub failed: u32,
    /// The last failure, if any.
    pub error: Option<ConnectError>,
    /// The duration of the warm-up.
    pub took: Duration,
}

impl WarmUp {
    /// Returns whether the warm-up reached `pool_size` open connections.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.failed == 0
    }
}

/// Opens the connections that are missing to `number`, and waits for them until the deadline.
///
/// Retries an unreachable database until the deadline, but not one that refuses. Attempts that are
/// still running at the deadline continue in the background and add their connections to the pool.
pub(super) async fn warm_up<C: Backend>(
    own: &Arc<OwnShared<C>>,
    number: u32,
    deadline: Duration,
) -> WarmUp {
    let start = Instant::now();
    // Cap the deadline, so that it does not overflow the clock.
    let until = start.checked_add(deadline).unwrap_or(start + LONGEST);
    let missing = number.saturating_sub(own.policy.counter.read().0);
    let (sender, mut results) = mpsc::unbounded_channel();
    for _ in 0..missing {
        let (own, sender) = (Arc::clone(own), sender.clone());
        let runtime = own.policy.runtime().clone();
        runtime.spawn(async move { open(&own, number, until, sender).await });
    }
    drop(sender);
    let mut result = WarmUp {
        opened: 0,
        failed: missing,
        error: None,
        took: Duration::ZERO,
    };
    while result.failed > 0 {
        match timeout_at(until, results.recv()).await {
            Ok(Some(Ok(opened))) => {
                result.opened += u32::from(opened);
                result.failed -= 1;
            }
            Ok(Some(Err(error))) => result.error = Some(error),
            // All tasks have given up.
            Ok(None) => break,
            Err(_) => {
                let late = || {
                    let why = format!("not all connections were open after {deadline:?}");
                    ConnectError::new(ConnectErrorKind::TimedOut, why, None)
                };
                result.error.get_or_insert_with(late);
                break;
            }
        }
    }
    result.took = start.elapsed();
    result
}

/// Opens one connection and sends each failure and the result: `false` if it is no longer needed.
async fn open<C: Backend>(
    own: &Arc<OwnShared<C>>,
    number: u32,
    until: Instant,
    sender: mpsc::UnboundedSender<Result<bool, ConnectError>>,
) {
    while own.pool().is_some() {
        // Checkouts have opened enough connections meanwhile.
        if own.policy.counter.read().0 >= number {
            let _ = sender.send(Ok(false));
            return;
        }
        match own.connect().await {
            Ok(entry) => {
                own.admit(entry);
                let _ = sender.send(Ok(true));
                return;
            }
            Err(error) => {
                // Other attempts occupy the whole limit; they may yet fail.
                let no_room = error.is_no_room();
                let again = (no_room || error.is_absence()) && Instant::now() + PAUSE < until;
                if !no_room {
                    let _ = sender.send(Err(error));
                }
                if !again {
                    return;
                }
                sleep(PAUSE).await;
            }
        }
    }
}
