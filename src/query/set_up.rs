//! The diesel instrumentation of a connection while the app sets it up.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use diesel::connection::{Instrumentation, InstrumentationEvent, get_default_instrumentation};

use crate::backend::statement_asks_read_only;

/// Watches whether the app's set-up makes the session read-only. Forwards every event to diesel's
/// default instrumentation.
pub(crate) struct SetUpInstrumentation {
    asked_read_only: Arc<AtomicBool>,
    next: Option<Box<dyn Instrumentation>>,
}

impl SetUpInstrumentation {
    /// Creates the instrumentation, and the flag that it sets.
    pub(crate) fn new() -> (Self, Arc<AtomicBool>) {
        let asked_read_only = Arc::<AtomicBool>::default();
        let watch = Self {
            asked_read_only: Arc::clone(&asked_read_only),
            next: get_default_instrumentation(),
        };
        (watch, asked_read_only)
    }
}

impl Instrumentation for SetUpInstrumentation {
    fn on_connection_event(&mut self, event: InstrumentationEvent<'_>) {
        if let InstrumentationEvent::StartQuery { query, .. } = &event
            && statement_asks_read_only(&query.to_string())
        {
            self.asked_read_only.store(true, Relaxed);
        }
        if let Some(next) = &mut self.next {
            next.on_connection_event(event);
        }
    }
}
