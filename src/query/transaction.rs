//! The span of a transaction, from `BEGIN` to what ended it.

use opentelemetry::KeyValue;
use opentelemetry::global::BoxedSpan;
use opentelemetry::trace::Span;

use super::running::tell;
use crate::occupant::QueryFailure;

/// The attribute that says how it ended.
const OUTCOME: &str = "poolscope.transaction.outcome";

/// A transaction under way. Dropped without an end, it was abandoned: its connection is closed.
#[derive(Debug)]
pub(super) struct Transaction {
    span: BoxedSpan,
    /// What the statement under way does to it: `BEGIN`, `COMMIT` or `ROLLBACK`.
    step: Option<Step>,
    ended: bool,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Step {
    Begin,
    Commit,
    Rollback,
}

impl Transaction {
    /// The next statement begins it.
    pub(super) fn new(span: BoxedSpan) -> Self {
        Self {
            span,
            step: Some(Step::Begin),
            ended: false,
        }
    }

    /// The next statement commits it.
    pub(super) fn commits(&mut self) {
        self.step = Some(Step::Commit);
    }

    /// The next statement rolls it back.
    pub(super) fn rolls_back(&mut self) {
        self.step = Some(Step::Rollback);
    }

    /// A statement has ended; whether the transaction has ended with it.
    pub(super) fn statement_ended(&mut self, failure: Option<&QueryFailure>) -> bool {
        let outcome = match (self.step.take(), failure) {
            (Some(Step::Begin), None) | (None, _) => return false,
            (Some(Step::Commit), None) => "committed",
            (Some(Step::Rollback), None) => "rolled_back",
            (Some(_), Some(_)) => "failed",
        };
        self.end(outcome, failure);
        true
    }

    fn end(&mut self, outcome: &'static str, failure: Option<&QueryFailure>) {
        self.ended = true;
        self.span.set_attribute(KeyValue::new(OUTCOME, outcome));
        if let Some(failure) = failure {
            tell(&mut self.span, failure);
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
