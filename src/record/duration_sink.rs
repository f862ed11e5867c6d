//! Receives durations at the moment at which they end. The metrics implement it, so that the record does
//! not depend on them.

use std::sync::Arc;
use std::time::Duration;

use opentelemetry::KeyValue;

use super::recorder::Recorder;
use crate::checkout::query_context::QueryFailure;
use crate::checkout::wait_phase::Phases;
use crate::request::attribution::{Attribution, Tally};

/// Where a pool's durations go besides its record.
pub(crate) trait DurationSink: Send + Sync {
    /// Connects the sink to the record of its pool. Called once when the pool is created, and again about
    /// once a second while it is used.
    fn bind(&self, recorder: &Arc<Recorder>);

    /// Reports a checkout that got its connection.
    fn waited(&self, time: Duration, phases: Option<&Phases>);

    /// Reports a connection that was returned.
    fn held(&self, time: Duration);

    /// Reports a connection that was opened.
    fn created(&self, time: Duration);

    /// Reports a query that has ended.
    fn query_ended(&self, took: Duration, database: &[KeyValue], failure: Option<&QueryFailure>);

    /// Reports a request that has ended, and its use of the pool.
    fn request_ended(&self, request: &Attribution, tally: &Tally);
}
