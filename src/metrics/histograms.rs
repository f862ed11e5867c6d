//! The metrics whose values are recorded as they occur, counted in buckets.

use opentelemetry::KeyValue;
use opentelemetry_semantic_conventions::metric::{
    DB_CLIENT_CONNECTION_CREATE_TIME, DB_CLIENT_CONNECTION_USE_TIME,
    DB_CLIENT_CONNECTION_WAIT_TIME, DB_CLIENT_OPERATION_DURATION,
};

use crate::checkout::wait_phase::Phase;
use crate::metrics::family::{EmitBuckets, Family, Kind};
use crate::record::buckets::{Buckets, COUNTS, SECONDS};
use crate::record::recorder::Recorder;
use crate::record::requests::Key;

/// Attribute with the phase of a checkout's wait.
pub(crate) const PHASE: &str = "poolscope.checkout.phase";

pub(crate) const WAIT_TIME: Family = Family {
    name: DB_CLIENT_CONNECTION_WAIT_TIME,
    unit: "s",
    description: "The time it took to obtain an open connection from the pool",
    kind: Kind::Histogram(SECONDS, |r, emit| emit(&r.state().waits, &[])),
};
pub(crate) const USE_TIME: Family = Family {
    name: DB_CLIENT_CONNECTION_USE_TIME,
    unit: "s",
    description: "The time between borrowing a connection and returning it to the pool",
    kind: Kind::Histogram(SECONDS, |r, emit| emit(&r.state().holds, &[])),
};
pub(crate) const CREATE_TIME: Family = Family {
    name: DB_CLIENT_CONNECTION_CREATE_TIME,
    unit: "s",
    description: "The time it took to create a new connection",
    kind: Kind::Histogram(SECONDS, |r, emit| emit(&r.state().creates, &[])),
};
pub(crate) const PHASE_TIME: Family = Family {
    name: "poolscope.checkout.phase_time",
    unit: "s",
    description: "The time that a checkout waited in a phase: queued, connecting or pinging; not recorded for a phase without a wait",
    kind: Kind::Histogram(SECONDS, |r, emit| {
        let phases = r.state().phases.clone();
        for (phase, buckets) in Phase::ALL.into_iter().zip(&phases) {
            emit(buckets, &[KeyValue::new(PHASE, phase.as_str())]);
        }
    }),
};
pub(crate) const OPERATION_DURATION: Family = Family {
    name: DB_CLIENT_OPERATION_DURATION,
    unit: "s",
    description: "The time from sending a query to the end of its response",
    kind: Kind::Histogram(SECONDS, |r, emit| r.operations().each(&r.database, emit)),
};

/// The metrics of a request, in the order of [`Used::values`](crate::request::attribution::Used::values).
pub(crate) const REQUEST: [Family; 5] = [
    Family {
        name: "poolscope.request.checkouts",
        unit: "{checkout}",
        description: "Checkouts of one request",
        kind: Kind::Histogram(COUNTS, per_request::<0>),
    },
    Family {
        name: "poolscope.request.queries",
        unit: "{query}",
        description: "Queries of one request",
        kind: Kind::Histogram(COUNTS, per_request::<1>),
    },
    Family {
        name: "poolscope.request.wait_time",
        unit: "s",
        description: "Time that one request waited for connections",
        kind: Kind::Histogram(SECONDS, per_request::<2>),
    },
    Family {
        name: "poolscope.request.held_time",
        unit: "s",
        description: "Time that one request held connections",
        kind: Kind::Histogram(SECONDS, per_request::<3>),
    },
    Family {
        name: "poolscope.request.query_time",
        unit: "s",
        description: "The part of the time that one request held connections in which the database was at work",
        kind: Kind::Histogram(SECONDS, per_request::<4>),
    },
];

/// Reads the histogram with this number in [`REQUEST`].
fn per_request<const NUMBER: usize>(recorder: &Recorder, emit: EmitBuckets<'_>) {
    // Copied, so that requests do not wait for the lock while the reader runs.
    let all: Vec<(Key, Buckets)> = {
        let requests = recorder.requests();
        let routes = requests.routes.iter();
        routes
            .map(|(key, used)| (key.clone(), used[NUMBER].clone()))
            .collect()
    };
    for (key, buckets) in all {
        emit(&buckets, &key.attributes());
    }
}
