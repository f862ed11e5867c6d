//! The waiting to expect at each number of connections.

use crate::observe::load::Load;

/// What is missing before anything can be said.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct NotEnough {
    /// More seconds to observe.
    pub(crate) seconds: f64,
    /// More checkouts to observe.
    pub(crate) checkouts: u64,
}

/// What was learned of a load, ready to be asked.
#[derive(Debug, Clone)]
pub(crate) struct Model {}

/// The waiting at one number of connections, in seconds; infinite where the load is more than they
/// can serve.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Prediction {
    pub(crate) connections: u32,
    /// Arrivals over what can be served at most; above 1 the queue grows without end.
    pub(crate) utilization: f64,
    /// The share of checkouts that queue at all.
    pub(crate) queueing: f64,
    pub(crate) mean: f64,
    pub(crate) p50: f64,
    pub(crate) p95: f64,
    pub(crate) p99: f64,
    /// Levels beyond those that were seen often enough to know their rate; 0 within them.
    pub(crate) beyond_data: u32,
}

impl Model {
    /// At least so much is needed.
    pub(crate) const SECONDS: f64 = 20.0;
    pub(crate) const CHECKOUTS: u64 = 1000;

    pub(crate) fn learn(load: &Load) -> Result<Self, NotEnough> {
        Err(NotEnough {
            seconds: (Self::SECONDS - load.seconds).max(0.0),
            checkouts: Self::CHECKOUTS.saturating_sub(load.held.count),
        })
    }

    /// The waiting with so many connections, were there `demand` times as many arrivals.
    pub(crate) fn at(&self, connections: u32, demand: f64) -> Prediction {
        let _ = demand;
        Prediction {
            connections,
            utilization: f64::NAN,
            queueing: f64::NAN,
            mean: f64::NAN,
            p50: f64::NAN,
            p95: f64::NAN,
            p99: f64::NAN,
            beyond_data: 0,
        }
    }
}
