//! `healthcheck`: one word for a load balancer.

use std::time::Duration;

use serde::Serialize;

use super::source::Source;
use crate::inventory::Availability;
use crate::observe::Observe;
use crate::observe::serving::Evidence;

/// The database must have answered within this; the route promises 800 ms.
pub(super) const DEADLINE: Duration = Duration::from_millis(650);

/// Whether the pool can serve. For readiness, never for liveness: restarting the app does not
/// bring a database back.
#[non_exhaustive]
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Healthcheck {
    /// `ok`, or `unavailable`.
    pub status: &'static str,
    /// Why it is unavailable.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

impl Healthcheck {
    /// Whether the pool can serve.
    #[must_use]
    pub fn is_ok(&self) -> bool {
        self.reason.is_none()
    }
}

impl<S: Source> Observe<S> {
    /// Whether the pool can serve, within 800 ms.
    pub async fn healthcheck(&self) -> Healthcheck {
        let reason = match Evidence::gather(&self.recorder).own_verdict() {
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

    /// Asks the database whether it can be reached, remembers it for the metrics, and says why not.
    /// A pool that was closed asks no more.
    pub(crate) async fn ask_database(&self) -> Option<String> {
        if self.recorder.availability() != Availability::Open {
            return None;
        }
        let answer = self.get_ref().facts().lane.ping(DEADLINE).await;
        // Only now: checkouts may have succeeded while the lane waited.
        let evidence = Evidence::gather(&self.recorder);
        self.recorder
            .lane_verdict(evidence.unreachable(answer.as_ref().map(|_| ())))
    }
}
