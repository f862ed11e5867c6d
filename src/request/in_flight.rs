//! A request in progress.

use std::sync::Arc;

use http::request::Parts;
use http::{Method, StatusCode};

use super::layer::Options;
use super::method;
use super::span::{Outcome, RequestSpan};
use crate::request::attribution::Attribution;

/// A request in progress. If it is dropped before it has ended, it was cancelled or has panicked.
pub(super) struct Open {
    request: Arc<Attribution>,
    /// The enclosing request, if another layer is around this one.
    outer: Option<Arc<Attribution>>,
    pub(super) span: RequestSpan,
    status: Option<StatusCode>,
    pub(super) is_head: bool,
    /// Whether the inner service is running, or panicked while it ran.
    working: bool,
    outcome: Outcome,
}

impl Open {
    pub(super) fn new(parts: &Parts, options: &Options) -> Self {
        let outer = Attribution::current();
        let method = method::name(&options.methods, &parts.method);
        let route = options.route(parts);
        let request = Attribution::new(method, route);
        Self {
            span: RequestSpan::of(&request, outer.as_deref(), parts, options),
            request,
            outer,
            status: None,
            is_head: parts.method == Method::HEAD,
            working: false,
            outcome: Outcome::Canceled,
        }
    }

    /// Runs a closure as part of the request.
    pub(super) fn work<T>(&mut self, work: impl FnOnce() -> T) -> T {
        self.working = true;
        let current = self.span.enter();
        let done = Arc::clone(&self.request).sync_scope(work);
        drop(current);
        self.working = false;
        done
    }

    /// Records the head of the response. If the body is not in memory already, it may use the pool.
    pub(super) fn answered(&mut self, status: StatusCode, from_memory: bool) {
        self.status = Some(status);
        if from_memory {
            self.span.answered(|| self.request.used());
        }
    }

    pub(super) fn end(mut self, outcome: Outcome) {
        self.outcome = outcome;
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        let outcome = match self.working {
            true => Outcome::Panicked,
            false => self.outcome,
        };
        let used = self.request.finish();
        if let (Some(outer), Some(used)) = (&self.outer, &used) {
            outer.add_within(used);
        }
        let span = std::mem::replace(&mut self.span, RequestSpan::None);
        span.end(used, self.status, outcome);
    }
}
