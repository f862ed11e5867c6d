//! Decides whether the pool can serve, for load balancers.
//!
//! *Busy is not down.* A full pool that still serves its waiters in time is a warning and not a 503.
//! Otherwise a load balancer would take out every replica at once.

use std::time::Duration;

use tokio::time::Instant;

use crate::backend::{ConnectError, ConnectErrorKind, MonitorError};
use crate::record::inventory::{Availability, Counts};
use crate::record::recorder::{Recorder, VERDICT_AGE};

/// Maximum age of a checkout that proves that the pool serves.
const RECENT: Duration = Duration::from_secs(1);

/// The state of the pool at one instant, on which the verdict is based.
#[derive(Debug, Clone)]
pub(crate) struct Readiness {
    pub(crate) availability: Availability,
    pub(crate) counts: Counts,
    pub(crate) pool_timeout: Option<Duration>,
    /// Number of holders that the pool itself recorded.
    pub(crate) holders: u32,
    /// Time that the longest-waiting checkout has waited; `None` if none is waiting.
    pub(crate) longest_wait: Option<Duration>,
    /// Age of the newest hold: every connection in use has been in use for at least this time.
    pub(crate) newest_hold: Option<Duration>,
    pub(crate) since_last_return: Option<Duration>,
    /// When a checkout last got a connection, or a connection was last opened.
    pub(crate) last_success: Option<Instant>,
    /// The last connect error if no server answered and nothing has succeeded since, and when it occurred.
    pub(crate) absence: Option<(ConnectError, Instant)>,
}

impl Readiness {
    pub(crate) fn gather(recorder: &Recorder) -> Self {
        let counts = recorder.counts();
        let now = Instant::now();
        let ago = |at: Instant| now.saturating_duration_since(at);
        let state = recorder.state();
        let last_success = state.last_granted.max(state.last_opened);
        let absence = state.last_connect_error.as_ref().filter(|(error, at)| {
            error.is_absence() && last_success.is_none_or(|success| success < *at)
        });
        Self {
            availability: recorder.inventory.availability(),
            counts,
            pool_timeout: recorder.inventory.timeout(),
            holders: state.ledger.holders.len(),
            longest_wait: state
                .ledger
                .longest_waiter()
                .map(|waiter| ago(waiter.since)),
            newest_hold: state.ledger.newest_hold().map(ago),
            since_last_return: state.last_returned.map(ago),
            last_success,
            absence: absence.cloned(),
        }
    }

    /// Returns why the pool cannot serve, as far as known without asking the database. `None` if it can.
    pub(crate) fn own_verdict(&self) -> Option<String> {
        match self.availability {
            Availability::Draining => {
                return Some("the pool is draining: it hands out no more connections".to_owned());
            }
            Availability::Closed => return Some("the pool is closed".to_owned()),
            Availability::Suspended => {
                return Some(
                    "the pool is suspended: it hands out no connections until it is resumed"
                        .to_owned(),
                );
            }
            Availability::Open => {}
        }
        // Stalled: all connections are checked out, checkouts wait, and for a whole timeout none was
        // returned. The age of the newest hold is an upper bound, because otherwise a burst after a
        // quiet hour would look like a stall.
        let timeout = self.pool_timeout?;
        let waiting = self.longest_wait?;
        let stuck = self
            .newest_hold?
            .min(self.since_last_return.unwrap_or(Duration::MAX));
        let out = self.counts.checked_out();
        // On an existing pool, other code may hold connections, and their returns are not seen.
        let all_out = out >= self.counts.max_connections() && self.holders >= out;
        (all_out && stuck >= timeout).then(|| {
            format!(
                "stalled: all {} connections are checked out, none has been returned for {:.0} s, and the longest wait is {:.1} s",
                self.counts.checked_out(),
                stuck.as_secs_f64(),
                waiting.as_secs_f64(),
            )
        })
    }

    /// Returns why the database cannot be reached, given the result of the monitoring connection. Its
    /// failure alone is no evidence while checkouts succeed, or while the server has no free slots
    /// because of the pool's own connections. An answer that is late is no failure.
    pub(crate) fn unreachable(&self, monitor: Result<(), &MonitorError>) -> Option<String> {
        let error = monitor.err()?;
        let Some(known) = &error.pending else {
            return self.failed(&error.cause, error.asked);
        };
        if let Some((cause, at)) = known.failed.as_ref().or(self.absence.as_ref()) {
            return self.failed(cause, *at);
        }
        let recently = |at: Instant| at.elapsed() < VERDICT_AGE;
        if self.counts.open > 0 || known.answered.is_some_and(recently) {
            return None;
        }
        self.failed(&error.cause, error.asked)
    }

    /// Returns why the database cannot be reached after a request, made at `asked`, has failed.
    fn failed(&self, cause: &ConnectError, asked: Instant) -> Option<String> {
        let kind = cause.kind();
        // If no server answers, a connection handed out before the question proves nothing. If the
        // server rejects the monitoring connection, a recent one does: the rejection takes only
        // milliseconds, and not every app has a checkout in that time.
        let since = match kind {
            ConnectErrorKind::Unreachable | ConnectErrorKind::Starting => asked,
            _ => asked.checked_sub(RECENT).unwrap_or(asked),
        };
        if self.last_success.is_some_and(|at| at >= since) {
            return None;
        }
        // The server rejects new connections, but open ones still serve. An unused pool has no checkout
        // to prove it.
        if !cause.is_absence() && self.counts.open > 0 {
            return None;
        }
        Some(cannot_be_reached(cause))
    }
}

/// Returns the reason that a database without an answer is.
pub(crate) fn cannot_be_reached(cause: &ConnectError) -> String {
    format!("the database can't be reached: {cause}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::Known;

    fn evidence() -> Readiness {
        Readiness {
            availability: Availability::Open,
            counts: Counts::new(8, 0, 3, 5),
            pool_timeout: Some(Duration::from_secs(30)),
            holders: 8,
            longest_wait: Some(Duration::from_secs(29)),
            newest_hold: Some(Duration::from_secs(31)),
            since_last_return: None,
            last_success: None,
            absence: None,
        }
    }

    #[test]
    fn a_busy_pool_is_not_down() {
        assert!(
            evidence()
                .own_verdict()
                .unwrap()
                .starts_with("stalled: all 8")
        );
        let served = Readiness {
            since_last_return: Some(Duration::from_secs(1)),
            ..evidence()
        };
        assert_eq!(served.own_verdict(), None);
        let without_waiters = Readiness {
            longest_wait: None,
            ..evidence()
        };
        assert_eq!(without_waiters.own_verdict(), None);
        let burst_after_a_quiet_hour = Readiness {
            newest_hold: Some(Duration::from_secs(2)),
            since_last_return: Some(Duration::from_secs(3600)),
            ..evidence()
        };
        assert_eq!(burst_after_a_quiet_hour.own_verdict(), None);
        let past_our_books = Readiness {
            holders: 7,
            ..evidence()
        };
        assert_eq!(past_our_books.own_verdict(), None);
        let dialing = Readiness {
            counts: Counts::new(2, 0, 3, 5),
            ..evidence()
        };
        assert_eq!(dialing.own_verdict(), None);
    }

    #[test]
    fn a_closed_pool_cannot_serve() {
        let draining = Readiness {
            availability: Availability::Draining,
            ..evidence()
        };
        assert!(draining.own_verdict().unwrap().contains("draining"));
        let closed = Readiness {
            availability: Availability::Closed,
            ..evidence()
        };
        assert_eq!(closed.own_verdict().unwrap(), "the pool is closed");
    }

    #[test]
    fn the_monitoring_connection_alone_is_no_evidence() {
        let now = Instant::now();
        let error = |kind| MonitorError {
            cause: ConnectError::new(kind, "refused", None),
            asked: now,
            pending: None,
        };
        let refused = error(ConnectErrorKind::Unreachable);
        assert_eq!(evidence().unreachable(Ok(())), None);
        assert_eq!(
            evidence().unreachable(Err(&refused)).unwrap(),
            "the database can't be reached: refused"
        );
        let succeeding = Readiness {
            last_success: Some(now),
            ..evidence()
        };
        assert_eq!(succeeding.unreachable(Err(&refused)), None);
        let just_before = Readiness {
            last_success: now.checked_sub(RECENT / 2),
            ..evidence()
        };
        assert!(just_before.unreachable(Err(&refused)).is_some());
        let authentication_failed = error(ConnectErrorKind::Authentication);
        assert_eq!(just_before.unreachable(Err(&authentication_failed)), None);
        // Open connections still serve. A pool without any cannot.
        assert_eq!(evidence().unreachable(Err(&authentication_failed)), None);
        let none_open = Readiness {
            counts: Counts::new(0, 0, 3, 5),
            ..evidence()
        };
        assert!(none_open.unreachable(Err(&authentication_failed)).is_some());
        assert!(
            evidence()
                .unreachable(Err(&error(ConnectErrorKind::TimedOut)))
                .is_some()
        );
        let full = error(ConnectErrorKind::TooManyConnections);
        assert_eq!(evidence().unreachable(Err(&full)), None);
        let full_and_none_ours = Readiness {
            counts: Counts::new(0, 0, 3, 5),
            ..evidence()
        };
        assert!(full_and_none_ours.unreachable(Err(&full)).is_some());
    }

    #[test]
    fn an_answer_that_is_late_is_no_failure() {
        let now = Instant::now();
        let before = now.checked_sub(RECENT * 2).unwrap();
        let cause = || ConnectError::new(ConnectErrorKind::TimedOut, "silent", None);
        let late = |known| MonitorError {
            cause: ConnectError::new(ConnectErrorKind::TimedOut, "late", None),
            asked: now,
            pending: Some(Box::new(known)),
        };
        let nothing_known = late(Known::default());
        assert_eq!(evidence().unreachable(Err(&nothing_known)), None);
        let none_open = Readiness {
            counts: Counts::new(0, 0, 3, 5),
            ..evidence()
        };
        let reason = none_open.unreachable(Err(&nothing_known)).unwrap();
        assert!(reason.ends_with("late"), "{reason}");
        let answered = late(Known {
            answered: Some(before),
            failed: None,
        });
        assert_eq!(none_open.unreachable(Err(&answered)), None);
        // A failure stands until something contradicts it.
        let failed = late(Known {
            answered: Some(before),
            failed: Some((cause(), now)),
        });
        let reason = evidence().unreachable(Err(&failed)).unwrap();
        assert!(reason.ends_with("silent"), "{reason}");
        let served = Readiness {
            last_success: Some(now),
            ..evidence()
        };
        assert_eq!(served.unreachable(Err(&failed)), None);
        let no_dial_succeeds = Readiness {
            absence: Some((cause(), before)),
            ..evidence()
        };
        assert!(no_dial_succeeds.unreachable(Err(&nothing_known)).is_some());
    }
}
