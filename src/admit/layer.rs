use std::sync::Arc;
use std::time::Duration;

use tower_layer::Layer;

use super::codel::CoDel;
use super::gate::Gate;
use super::queue::Rules;
use super::service::Admit;

/// Puts a fair queue in front of a [`Service<Checkout>`](tower_service::Service).
///
/// Each service that the layer creates has its own gate; see [`Admit::gate`].
#[derive(Debug, Clone)]
pub struct AdmitLayer {
    capacity: u32,
    timeout: Duration,
    rules: Rules,
}

impl AdmitLayer {
    /// Creates a layer that admits `capacity` checkouts at a time, each within `timeout` in total.
    #[must_use]
    pub fn new(capacity: u32, timeout: Duration) -> Self {
        Self {
            capacity,
            timeout,
            rules: Rules::default(),
        }
    }

    /// Rejects a checkout that would have to wait behind `limit` others. Defaults to no limit.
    #[must_use]
    pub fn max_pending(mut self, limit: impl Into<Option<u32>>) -> Self {
        self.rules.max_pending = limit.into();
        self
    }

    /// Sheds load. If every checkout admitted during one `interval` queued for longer than
    /// `target`, rejects the checkouts that have queued, or would have to queue, for twice the target.
    /// Defaults to off.
    #[must_use]
    pub fn shed(mut self, target: Duration, interval: Duration) -> Self {
        self.rules.shedding = Some(CoDel::new(target, interval));
        self
    }

    /// Sets whether checkouts fail at once while the gate is suspended, instead of waiting. Defaults
    /// to false.
    #[must_use]
    pub fn fail_when_suspended(mut self, fail: bool) -> Self {
        self.rules.fails_when_suspended = fail;
        self
    }
}

impl<S> Layer<S> for AdmitLayer {
    type Service = Admit<S>;

    fn layer(&self, inner: S) -> Admit<S> {
        let gate = Arc::new(Gate::new(self.capacity, self.timeout, self.rules));
        Admit { inner, gate }
    }
}
