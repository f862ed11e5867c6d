use std::sync::Arc;
use std::time::Duration;

use tower_layer::Layer;

use super::gate::Gate;
use super::service::Admit;

/// Puts a fair queue in front of a [`Service<Checkout>`](tower_service::Service).
#[derive(Debug, Clone)]
pub struct AdmitLayer {
    gate: Arc<Gate>,
}

impl AdmitLayer {
    /// Lets `capacity` checkouts through at a time; each may take `timeout` as a whole.
    #[must_use]
    pub fn new(capacity: u32, timeout: Duration) -> Self {
        Self {
            gate: Arc::new(Gate::new(capacity, timeout)),
        }
    }

    /// The handle to the gate: how many are admitted, and closing it.
    #[must_use]
    pub fn gate(&self) -> Arc<Gate> {
        Arc::clone(&self.gate)
    }
}

impl<S> Layer<S> for AdmitLayer {
    type Service = Admit<S>;

    fn layer(&self, inner: S) -> Admit<S> {
        Admit::new(inner, Arc::clone(&self.gate))
    }
}
