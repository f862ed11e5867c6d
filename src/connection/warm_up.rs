//! Opens connections before they are needed.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, timeout_at};

use super::own::OwnCare;
use crate::backend::{Backend, ConnectError, ConnectErrorKind};

/// Before the next try, after one that found nobody.
const PAUSE: Duration = Duration::from_millis(100);

const LONGEST: Duration = Duration::from_secs(100 * 365 * 24 * 3600);

/// What came of a [`Pool::warm_up`](crate::Pool::warm_up).
#[non_exhaustive]
#[derive(Debug, Clone)]
pub struct WarmUp {
    /// Connections that it opened.
    pub opened: u32,
    /// Connections that it could not open in time.
    pub failed: u32,
    /// Why not, as far as it is known: the last failure.
    pub error: Option<ConnectError>,
    /// How long it took.
    pub took: Duration,
}

impl WarmUp {
    /// Whether `pool_size` connections are open.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.failed == 0
    }
}

/// Opens what is missing to `number` open connections, and waits for it until the deadline.
///
/// A database that is not there is tried again until then; one that refuses is not. What has not
/// ended by then goes on by itself, and what it opens is put into the pool.
pub(super) async fn warm_up<C: Backend>(
    own: &Arc<OwnCare<C>>,
    number: u32,
    deadline: Duration,
) -> WarmUp {
    let start = Instant::now();
    // A deadline that lies beyond the clock's end is none.
    let until = start.checked_add(deadline).unwrap_or(start + LONGEST);
    let missing = number.saturating_sub(own.care.counter.read().0);
    let (tell, mut told) = mpsc::unbounded_channel();
    for _ in 0..missing {
        let (own, tell) = (Arc::clone(own), tell.clone());
        let runtime = own.care.runtime().clone();
        runtime.spawn(async move { open(&own, number, until, tell).await });
    }
    drop(tell);
    let mut result = WarmUp {
        opened: 0,
        failed: missing,
        error: None,
        took: Duration::ZERO,
    };
    while result.failed > 0 {
        match timeout_at(until, told.recv()).await {
            Ok(Some(Ok(opened))) => {
                result.opened += u32::from(opened);
                result.failed -= 1;
            }
            Ok(Some(Err(error))) => result.error = Some(error),
            // All have given up.
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

/// Opens one, and tells each failure on the way; false if it is not needed any more.
async fn open<C: Backend>(
    own: &Arc<OwnCare<C>>,
    number: u32,
    until: Instant,
    tell: mpsc::UnboundedSender<Result<bool, ConnectError>>,
) {
    while own.pool().is_some() {
        // The checkouts have opened enough meanwhile.
        if own.care.counter.read().0 >= number {
            let _ = tell.send(Ok(false));
            return;
        }
        match own.connect().await {
            Ok(entry) => {
                own.admit(entry);
                let _ = tell.send(Ok(true));
                return;
            }
            Err(error) => {
                // Others are opening as many as there may be; they may yet fail.
                let no_room = error.is_no_room();
                let again = (no_room || error.is_absence()) && Instant::now() + PAUSE < until;
                if !no_room {
                    let _ = tell.send(Err(error));
                }
                if !again {
                    return;
                }
                sleep(PAUSE).await;
            }
        }
    }
}
