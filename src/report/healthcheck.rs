//! `healthcheck`: one word for a load balancer.

use std::time::Duration;

use serde::Serialize;

use super::serving::Evidence;
use super::source::Source;
use crate::observe::Observe;

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
        let facts = self.get_ref().facts();
        let reason = match Evidence::gather(&self.recorder, &facts).own_verdict() {
            Some(reason) => Some(reason),
            None => {
                let answer = facts.lane.ping(DEADLINE).await;
                // Gathered again: checkouts may have succeeded while the lane waited.
                Evidence::gather(&self.recorder, &facts).unreachable(answer.as_ref().map(|_| ()))
            }
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
}
