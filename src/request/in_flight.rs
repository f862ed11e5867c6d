//! A request in progress.

use std::sync::Arc;

use http::request::Parts;
use http::{Method, StatusCode};
use opentelemetry::ContextGuard;

use super::layer::Options;
use super::span::{Outcome, RequestSpan};
use crate::request::attribution::Attribution;

/// A request in progress. If it is dropped before it has ended, it was cancelled or has panicked.
pub(super) struct Open {
    request: Arc<Attribution>,
    /// The enclosing request, if another layer is around this one.
    outer: Option<Arc<Attribution>>,
    span: RequestSpan,
    status: Option<StatusCode>,
    is_head: bool,
    /// Whether the inner service is running, or panicked while it ran.
    working: bool,
    ended: bool,
}

impl Open {
    pub(super) fn new(parts: &Parts, options: &Options) -> Self {
        let outer = Attribution::current();
        let method = options.methods.name(&parts.method);
        let route = options.route(parts);
        let request = Attribution::new(method, route);
        Self {
            span: RequestSpan::of(&request, outer.as_deref(), parts, options),
            request,
            outer,
            status: None,
            is_head: parts.method == Method::HEAD,
            working: false,
            ended: false,
        }
    }

    pub(super) fn is_head(&self) -> bool {
        self.is_head
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

    pub(super) fn has_panicked(&self) -> bool {
        self.working
    }

    /// Makes the request's span current while the guard lives, for dropping the inner service's values.
    pub(super) fn enter(&self) -> Option<ContextGuard> {
        self.span.enter()
    }

    /// Records the head of the response. If the body is not in memory already, it may use the pool.
    pub(super) fn answered(&mut self, status: StatusCode, from_memory: bool) {
        self.status = Some(status);
        if from_memory {
            self.span.answered(|| self.request.used());
        }
    }

    pub(super) fn end(mut self, outcome: Outcome) {
        self.close(outcome);
    }

    fn close(&mut self, outcome: Outcome) {
        self.ended = true;
        let used = self.request.finish();
        if let (Some(outer), Some(used)) = (&self.outer, &used) {
            outer.add_within(used);
        }
        let span = std::mem::replace(&mut self.span, RequestSpan::None);
        span.end(used, self.status, outcome);
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        if !self.ended {
            self.close(if self.has_panicked() {
                Outcome::Panicked
            } else {
                Outcome::Canceled
            });
        }
    }
}
