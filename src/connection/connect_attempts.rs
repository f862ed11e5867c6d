//! The attempts to connect so far, and when the next may begin. It neither locks nor waits.

use std::time::Duration;

use tokio::time::Instant;

use crate::backend::{ConnectError, ConnectErrorKind};

/// The time between two connection attempts to a database that refuses them.
pub(super) const PAUSE: Duration = Duration::from_millis(100);

/// The time between two logins while none succeeds. Servers lock accounts after a number of wrong
/// passwords.
pub(super) const LOGIN_PAUSE: Duration = Duration::from_secs(1);

/// How long a request waits for an attempt that is newer than itself, or for a returned connection,
/// after the server has refused a login.
pub(super) const PATIENCE: Duration = Duration::from_millis(500);

#[derive(Debug, Default)]
pub(super) struct Attempts {
    pub(super) begun: u64,
    /// The value of `begun` when an attempt last succeeded.
    pub(super) succeeded: u64,
    pub(super) under_way: u32,
    last_began: Option<Instant>,
    last_success: Option<Instant>,
    pub(super) last_refusal: Option<RefusedConnect>,
}

#[derive(Debug, Clone)]
pub(super) struct RefusedConnect {
    pub(super) error: ConnectError,
    /// The number of the refused attempt among all attempts.
    number: u64,
    pub(super) ended: Instant,
}

/// The answer to a request to connect now.
pub(super) enum AttemptVerdict {
    Connect,
    Refused(ConnectError),
    Wait(Instant),
}

impl Attempts {
    /// Returns the verdict on a request made at `since`, when `asked` attempts had begun.
    pub(super) fn verdict(&self, asked: u64, since: Instant) -> AttemptVerdict {
        let now = Instant::now();
        let alone = match self.last_began {
            Some(began) if self.under_way > 0 => began + LOGIN_PAUSE,
            _ => now,
        };
        let due = match &self.last_refusal {
            Some(refusal) if refusal.number > asked => {
                return AttemptVerdict::Refused(refusal.error.clone());
            }
            Some(refusal) => alone.max(refusal.ended + pause(&refusal.error)),
            // A login has succeeded since the request, so the others may run beside each other.
            None if self.last_success.is_some_and(|at| at >= since) => now,
            None => alone,
        };
        if due <= now {
            return AttemptVerdict::Connect;
        }
        match &self.last_refusal {
            Some(refusal) if is_login(&refusal.error) => match since + PATIENCE {
                until if until <= now => AttemptVerdict::Refused(refusal.error.clone()),
                until => AttemptVerdict::Wait(due.min(until)),
            },
            _ => AttemptVerdict::Wait(due),
        }
    }

    pub(super) fn begin(&mut self, began: Instant) -> u64 {
        self.begun += 1;
        self.under_way += 1;
        self.last_began = Some(began);
        self.begun
    }

    pub(super) fn succeed(&mut self) {
        self.succeeded = self.begun;
        self.last_success = Some(Instant::now());
        self.last_refusal = None;
    }

    pub(super) fn refuse(&mut self, error: ConnectError, number: u64) {
        self.last_refusal = Some(RefusedConnect {
            error,
            number,
            ended: Instant::now(),
        });
    }
}

pub(super) fn is_login(error: &ConnectError) -> bool {
    error.kind() == ConnectErrorKind::Authentication
}

fn pause(error: &ConnectError) -> Duration {
    match is_login(error) {
        true => LOGIN_PAUSE,
        false => PAUSE,
    }
}
