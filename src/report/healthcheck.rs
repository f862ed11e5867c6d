//! `healthcheck`: whether the pool can serve, as a load balancer's readiness probe.

use std::time::Duration;

use serde::Serialize;

use super::source::Source;
use crate::observe::Observe;
use crate::record::inventory::Availability;
use crate::record::readiness::Readiness;

/// The time within which the database must answer. The route guarantees an answer within 800 ms.
pub(super) const DEADLINE: Duration = Duration::from_millis(650);

/// Whether the pool can serve. Use it for readiness, never for liveness: restarting the application
/// does not bring a database back.
#[non_exhaustive]
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Healthcheck {
    /// `ok`, or `unavailable`.
    pub status: &'static str,
    /// Why the pool is unavailable; absent if it can serve.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

impl Healthcheck {
    /// Returns whether the pool can serve.
    #[must_use]
    pub fn is_ok(&self) -> bool {
        self.reason.is_none()
    }

    /// Shortens the reason for unauthenticated callers: it names no host, user or number.
    pub(crate) fn in_short(mut self) -> Self {
        self.reason = self.reason.map(|reason| {
            let short = SHORT.into_iter().find(|short| reason.starts_with(short));
            short.unwrap_or("unavailable").to_owned()
        });
        self
    }
}

/// The prefixes of all reasons, shown to unauthenticated callers.
const SHORT: [&str; 5] = [
    "the pool is suspended",
    "the pool is draining",
    "the pool is closed",
    "stalled",
    "the database can't be reached",
];

impl<S: Source> Observe<S> {
    /// Returns within 800 ms whether the pool can serve.
    pub async fn healthcheck(&self) -> Healthcheck {
        let reason = match Readiness::gather(&self.recorder).own_verdict() {
            Some(reason) => Some(reason),
            None => self.ask_database().await,
        };
        Healthcheck {
            status: if reason.is_none() {
                "ok"
            } else {
                "unavailable"
            },
            reason,
        }
    }

    /// Pings the database, records the result for the metrics, and returns why the database is
    /// unreachable. A suspended, draining or closed pool does not ping.
    pub(crate) async fn ask_database(&self) -> Option<String> {
        if self.recorder.inventory.availability() != Availability::Open {
            return None;
        }
        let answer = self.get_ref().facts().monitor.ping(DEADLINE).await;
        // Gathered after the ping: checkouts may have succeeded meanwhile.
        let evidence = Readiness::gather(&self.recorder);
        self.recorder
            .monitor_verdict(evidence.unreachable(answer.as_ref().map(|_| ())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn short(reason: &str) -> String {
        let check = Healthcheck {
            status: "unavailable",
            reason: Some(reason.to_owned()),
        };
        let short = check.in_short();
        assert!(!short.is_ok());
        short.reason.unwrap()
    }

    #[test]
    fn a_short_reason_names_no_host_and_no_number() {
        assert_eq!(
            short("the database can't be reached: connection refused (10.0.0.7:5432)"),
            "the database can't be reached"
        );
        assert_eq!(
            short("stalled: all 8 connections are checked out"),
            "stalled"
        );
        assert_eq!(short("the pool is closed"), "the pool is closed");
        assert_eq!(short("something new at 10.0.0.7"), "unavailable");
    }
}
