//! The span of a transaction, from `BEGIN` to the statement that ends it.

use opentelemetry::KeyValue;
use opentelemetry::global::BoxedSpan;
use opentelemetry::trace::Span;

use super::running::set_failure;
use crate::checkout::query_context::QueryFailure;

/// The attribute that says how the transaction ended.
const OUTCOME: &str = "poolscope.transaction.outcome";

/// An open transaction. If it is dropped before it has ended, it was abandoned and its connection is
/// closed.
#[derive(Debug)]
pub(super) struct Transaction {
    span: BoxedSpan,
    /// The effect of the statement in flight: `BEGIN`, `COMMIT` or `ROLLBACK`; `None` for any other.
    step: Option<Effect>,
    ended: bool,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Effect {
    Begin,
    Commit,
    Rollback,
}

impl Transaction {
    /// Creates a transaction that the next statement begins.
    pub(super) fn new(span: BoxedSpan) -> Self {
        Self {
            span,
            step: Some(Effect::Begin),
            ended: false,
        }
    }

    /// Records that the next statement ends the transaction.
    pub(super) fn ends(&mut self, commits: bool) {
        self.step = Some(match commits {
            true => Effect::Commit,
            false => Effect::Rollback,
        });
    }

    /// Records the end of a statement. Returns whether the transaction has ended with it.
    pub(super) fn statement_ended(&mut self, failure: Option<&QueryFailure>) -> bool {
        let outcome = match (self.step.take(), failure) {
            (Some(Effect::Begin), None) | (None, _) => return false,
            (Some(Effect::Commit), None) => "committed",
            (Some(Effect::Rollback), None) => "rolled_back",
            (Some(_), Some(_)) => "failed",
        };
        self.end(outcome, failure);
        true
    }

    fn end(&mut self, outcome: &'static str, failure: Option<&QueryFailure>) {
        self.ended = true;
        self.span.set_attribute(KeyValue::new(OUTCOME, outcome));
        if let Some(failure) = failure {
            set_failure(&mut self.span, failure);
        }
        self.span.end();
    }
}

impl Drop for Transaction {
    fn drop(&mut self) {
        if !self.ended {
            self.end("abandoned", Some(&QueryFailure::CANCELED));
        }
    }
}
