//! One outage: since when, why, and what it answers to a waiting checkout. It neither locks nor waits.

use std::time::Duration;

use tokio::time::Instant;

use crate::backend::ConnectError;

/// How long a request waits for a verdict, because connection attempts may hang.
const PATIENCE: Duration = Duration::from_millis(500);

/// The minimum age of an outage for its duration to appear in error messages.
const WORTH_TELLING: Duration = Duration::from_millis(50);

/// How long after a healthy connection was returned it is worth waiting for others.
const TRUST: Duration = Duration::from_secs(1);

#[derive(Debug)]
pub(super) struct Outage {
    since: Instant,
    cause: ConnectError,
    /// When the last attempt whose failure is known began.
    failed: Instant,
    /// When the last attempt began.
    tried: Instant,
    /// When a healthy connection was last returned.
    last_success: Instant,
}

impl Outage {
    /// Begins with a failed attempt that began at `began`.
    pub(super) fn new(began: Instant, cause: ConnectError) -> Self {
        let now = Instant::now();
        Self {
            since: now,
            cause,
            // An attempt also answers the requests made at the instant at which it began.
            failed: began + Duration::from_nanos(1),
            tried: began,
            last_success: now,
        }
    }

    pub(super) fn lasts(&self) -> Duration {
        self.since.elapsed()
    }

    /// Records the begin of an attempt.
    pub(super) fn tries(&mut self, now: Instant) {
        self.tried = now;
    }

    /// Records the failure of an attempt that began at `began`.
    pub(super) fn failed(&mut self, began: Instant, cause: ConnectError) {
        self.failed = self.failed.max(began);
        self.cause = cause;
    }

    /// Records that a healthy connection was returned.
    pub(super) fn succeeded(&mut self) {
        self.last_success = Instant::now();
    }

    /// Returns whether connections in use can be expected to be returned.
    pub(super) fn shows_life(&self) -> bool {
        self.last_success.elapsed() < TRUST
    }

    /// Returns the failure that answers a request made at `asked`: that of an attempt that began
    /// later, or any failure once the request has waited long enough.
    ///
    /// # Errors
    /// Returns the instant until which the request should wait.
    pub(super) fn answer(&self, asked: Instant) -> Result<ConnectError, Instant> {
        let until = asked.max(self.since) + PATIENCE;
        match self.failed > asked || Instant::now() >= until {
            true => Ok(self.error()),
            false => Err(until),
        }
    }

    /// Returns when an attempt that was in flight at the begin is given up.
    pub(super) fn given_up_at(&self) -> Instant {
        self.since + PATIENCE
    }

    /// Returns the cause, with the duration of the outage unless it has just begun.
    pub(super) fn error(&self) -> ConnectError {
        let (cause, lasts) = (self.cause.clone(), self.lasts());
        if lasts < WORTH_TELLING {
            return cause;
        }
        cause.during_outage(lasts, self.tried.elapsed())
    }
}
