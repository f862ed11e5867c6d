//! The list of metrics, from which the OpenTelemetry instruments and the Prometheus page are built.
//! A test compares the guide's table with it.
//!
//! Gauges and counters are absolute readings of the inventory and the pool state, taken on collection,
//! so they cannot drift from it.

use std::sync::Arc;

use opentelemetry::KeyValue;
use opentelemetry_semantic_conventions::attribute::DB_CLIENT_CONNECTION_STATE;
use opentelemetry_semantic_conventions::metric::{
    DB_CLIENT_CONNECTION_COUNT, DB_CLIENT_CONNECTION_CREATE_TIME, DB_CLIENT_CONNECTION_IDLE_MAX,
    DB_CLIENT_CONNECTION_MAX, DB_CLIENT_CONNECTION_PENDING_REQUESTS, DB_CLIENT_CONNECTION_TIMEOUTS,
    DB_CLIENT_CONNECTION_USE_TIME, DB_CLIENT_CONNECTION_WAIT_TIME, DB_CLIENT_OPERATION_DURATION,
};
use tokio::time::Instant;

use crate::checkout::TransactionState;
use crate::checkout::wait_phase::Phase;
use crate::record::buckets::{Buckets, COUNTS, SECONDS};
use crate::record::pool_events::CloseReason;
use crate::record::recorder::Recorder;
use crate::record::requests::{Key, route_attribute};
use crate::record::usage::{BySite, Site, Use};

/// A metric: its name, unit and description, and how to read it.
#[derive(Debug)]
pub(crate) struct Family {
    pub(crate) name: &'static str,
    pub(crate) unit: &'static str,
    pub(crate) description: &'static str,
    pub(crate) kind: Kind,
}

/// The kind of a metric, and the function that reads it. The function passes all attributes but the
/// pool's name.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Kind {
    /// A count that goes up and down and can be summed over pools.
    UpDown(Read),
    /// A value whose sum over pools has no meaning.
    Gauge(Read),
    /// A count that only grows.
    Counter(Read),
    /// A sum of seconds that only grows.
    Seconds(Read),
    /// Values recorded as they occur, counted in buckets with these boundaries.
    Histogram(&'static [f64], ReadBuckets),
}

/// Reads all series of a metric, and passes each one's value and attributes to the callback.
pub(crate) type Read = fn(&Recorder, Emit<'_>);
pub(crate) type Emit<'a> = &'a mut dyn FnMut(f64, &[KeyValue]);
/// Reads all series of a histogram, like [`Read`].
pub(crate) type ReadBuckets = fn(&Recorder, EmitBuckets<'_>);
pub(crate) type EmitBuckets<'a> = &'a mut dyn FnMut(&Buckets, &[KeyValue]);

/// Attribute with a checkout's source line.
pub(crate) const CALLER: &str = "poolscope.caller";
/// Attribute with a checkout's label.
pub(crate) const LABEL: &str = "poolscope.checkout.label";
/// Attribute with the phase of a checkout's wait.
pub(crate) const PHASE: &str = "poolscope.checkout.phase";
/// Attribute with how a checkout ended.
const OUTCOME: &str = "poolscope.checkout.outcome";
/// Attribute with why a connection was closed.
const CLOSE_REASON: &str = "poolscope.connection.close_reason";

pub(crate) static WAIT_TIME: Family = Family {
    name: DB_CLIENT_CONNECTION_WAIT_TIME,
    unit: "s",
    description: "The time it took to obtain an open connection from the pool",
    kind: Kind::Histogram(SECONDS, |r, emit| emit(&r.state().waits, &[])),
};
pub(crate) static USE_TIME: Family = Family {
    name: DB_CLIENT_CONNECTION_USE_TIME,
    unit: "s",
    description: "The time between borrowing a connection and returning it to the pool",
    kind: Kind::Histogram(SECONDS, |r, emit| emit(&r.state().holds, &[])),
};
pub(crate) static CREATE_TIME: Family = Family {
    name: DB_CLIENT_CONNECTION_CREATE_TIME,
    unit: "s",
    description: "The time it took to create a new connection",
    kind: Kind::Histogram(SECONDS, |r, emit| emit(&r.state().creates, &[])),
};
pub(crate) static PHASE_TIME: Family = Family {
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
pub(crate) static OPERATION_DURATION: Family = Family {
    name: DB_CLIENT_OPERATION_DURATION,
    unit: "s",
    description: "The time from sending a query to the end of its response",
    kind: Kind::Histogram(SECONDS, |r, emit| r.operations().each(&r.database, emit)),
};
static REQUEST_CHECKOUTS: Family = Family {
    name: "poolscope.request.checkouts",
    unit: "{checkout}",
    description: "Checkouts of one request",
    kind: Kind::Histogram(COUNTS, |r, emit| per_request(r, 0, emit)),
};
static REQUEST_QUERIES: Family = Family {
    name: "poolscope.request.queries",
    unit: "{query}",
    description: "Queries of one request",
    kind: Kind::Histogram(COUNTS, |r, emit| per_request(r, 1, emit)),
};
static REQUEST_WAIT_TIME: Family = Family {
    name: "poolscope.request.wait_time",
    unit: "s",
    description: "Time that one request waited for connections",
    kind: Kind::Histogram(SECONDS, |r, emit| per_request(r, 2, emit)),
};
static REQUEST_HELD_TIME: Family = Family {
    name: "poolscope.request.held_time",
    unit: "s",
    description: "Time that one request held connections",
    kind: Kind::Histogram(SECONDS, |r, emit| per_request(r, 3, emit)),
};
static REQUEST_QUERY_TIME: Family = Family {
    name: "poolscope.request.query_time",
    unit: "s",
    description: "The part of the time that one request held connections in which the database was at work",
    kind: Kind::Histogram(SECONDS, |r, emit| per_request(r, 4, emit)),
};

static COUNT: Family = Family {
    name: DB_CLIENT_CONNECTION_COUNT,
    unit: "{connection}",
    description: "The number of connections that are currently in the given state",
    kind: Kind::UpDown(|r, emit| {
        let counts = r.counts();
        let state = |state: &'static str| [KeyValue::new(DB_CLIENT_CONNECTION_STATE, state)];
        emit(f64::from(counts.idle), &state("idle"));
        emit(f64::from(counts.checked_out()), &state("used"));
    }),
};
static MAX: Family = Family {
    name: DB_CLIENT_CONNECTION_MAX,
    unit: "{connection}",
    description: "The maximum number of open connections allowed: pool size and overflow",
    kind: Kind::UpDown(|r, emit| emit(f64::from(r.counts().max_connections()), &[])),
};
static IDLE_MAX: Family = Family {
    name: DB_CLIENT_CONNECTION_IDLE_MAX,
    unit: "{connection}",
    description: "The maximum number of idle open connections allowed: the pool size",
    kind: Kind::UpDown(|r, emit| emit(f64::from(r.counts().pool_size), &[])),
};
static PENDING: Family = Family {
    name: DB_CLIENT_CONNECTION_PENDING_REQUESTS,
    unit: "{request}",
    description: "The number of current pending requests for an open connection",
    kind: Kind::UpDown(|r, emit| emit(f64::from(r.state().ledger.waiters.len()), &[])),
};
static TIMEOUTS: Family = Family {
    name: DB_CLIENT_CONNECTION_TIMEOUTS,
    unit: "{timeout}",
    description: "The number of connection timeouts that have occurred trying to obtain a connection from the pool",
    kind: Kind::Counter(|r, emit| emit(r.totals().timeouts as f64, &[])),
};
static SERVING: Family = Family {
    name: "poolscope.pool.serving",
    unit: "",
    description: "1 while the pool can serve, 0 while health answers 503",
    kind: Kind::Gauge(|r, emit| emit(f64::from(u8::from(r.is_serving())), &[])),
};
static REACHABLE: Family = Family {
    name: "poolscope.pool.database_reachable",
    unit: "",
    description: "0 if the database could not be reached and no checkout has succeeded since, otherwise 1",
    kind: Kind::Gauge(|r, emit| emit(f64::from(u8::from(r.is_database_reachable())), &[])),
};
static IDLE_IN_TRANSACTION: Family = Family {
    name: "poolscope.connection.idle_in_transaction",
    unit: "{connection}",
    description: "Connections held with an open transaction and no query running, as far as the pool can tell",
    kind: Kind::UpDown(|r, emit| {
        if !r.inventory.sees_transactions() {
            return;
        }
        let state = r.state();
        let idle = state.ledger.holders.iter().filter(|holder| {
            holder.facts.as_ref().is_some_and(|facts| {
                let open = facts
                    .transaction()
                    .is_some_and(|state| state != TransactionState::Idle);
                open && facts.queries_in_flight() == Some(0)
            })
        });
        let idle = idle.count();
        drop(state);
        emit(idle as f64, &[]);
    }),
};
static OPENED: Family = Family {
    name: "poolscope.connection.opened",
    unit: "{connection}",
    description: "Connections opened",
    kind: Kind::Counter(|r, emit| emit(r.totals().connections_opened as f64, &[])),
};
static OPEN_FAILURES: Family = Family {
    name: "poolscope.connection.open_failures",
    unit: "{failure}",
    description: "Failed attempts to open a connection",
    kind: Kind::Counter(|r, emit| {
        if let Some(failures) = r.totals().connect_failures {
            emit(failures as f64, &[]);
        }
    }),
};
static CLOSED: Family = Family {
    name: "poolscope.connection.closed",
    unit: "{connection}",
    description: "Connections closed, by reason",
    kind: Kind::Counter(|r, emit| {
        let closed = r.totals().connections_closed;
        for reason in CloseReason::ALL {
            let attribute = KeyValue::new(CLOSE_REASON, reason.as_str());
            emit(closed.of(reason) as f64, &[attribute]);
        }
        if closed.idle_timeout > 0 {
            let attribute = KeyValue::new(CLOSE_REASON, "idle_timeout");
            emit(closed.idle_timeout as f64, &[attribute]);
        }
    }),
};
static CHECKOUTS_FAILED: Family = Family {
    name: "poolscope.checkouts.failed",
    unit: "{checkout}",
    description: "Checkouts that got no connection for another reason than the timeout, by outcome",
    // The semantic conventions have a counter of the timeouts, and the granted checkouts are the
    // count of the wait times.
    kind: Kind::Counter(|r, emit| {
        let totals = r.totals();
        for (outcome, count) in [
            ("error", totals.errors),
            ("rejected", totals.rejected),
            ("canceled", totals.canceled),
        ] {
            emit(count as f64, &[KeyValue::new(OUTCOME, outcome)]);
        }
        for (route, shed) in r.shed() {
            let outcome = KeyValue::new(OUTCOME, "shed");
            let attributes = route_attribute(route.as_ref()).into_iter().chain([outcome]);
            emit(shed.total as f64, &attributes.collect::<Vec<_>>());
        }
    }),
};
static LONGEST_WAIT: Family = Family {
    name: "poolscope.wait.longest",
    unit: "s",
    description: "The time that the longest-waiting checkout has waited; 0 if none is waiting",
    kind: Kind::Gauge(|r, emit| {
        let longest = r.state().ledger.longest_waiter().map(|waiter| waiter.since);
        let waited = longest.map_or(0.0, |since| since.elapsed().as_secs_f64());
        emit(waited, &[]);
    }),
};
static WAIT_TARGET: Family = Family {
    name: "poolscope.wait.target",
    unit: "s",
    description: "The target for the 95th percentile of the time waited for a connection",
    kind: Kind::Gauge(|r, emit| {
        if let Some(target) = r.inventory.wait_target() {
            emit(target.as_secs_f64(), &[]);
        }
    }),
};
static ADVICE_ERROR: Family = Family {
    name: "poolscope.advice.error",
    unit: "",
    description: "The relative error of the predicted p95 waits against the measured ones: the median over the last hour's minutes in which checkouts queued",
    kind: Kind::Gauge(|r, emit| {
        let error = r.accuracy().and_then(|it| it.median_error_queueing_pct);
        if let Some(percent) = error {
            emit(percent / 100.0, &[]);
        }
    }),
};
static USE_CHECKOUTS: Family = Family {
    name: "poolscope.use.checkouts",
    unit: "{checkout}",
    description: "Connections returned, by call site",
    kind: Kind::Counter(|r, emit| {
        // The first of the usage metrics in `FAMILIES`.
        let read = r.usage_of_scrape(true);
        emit_sites(&read, |used| used.checkouts as f64, |_| true, emit);
    }),
};
static USE_WAIT_TIME: Family = Family {
    name: "poolscope.use.wait_time",
    unit: "s",
    description: "Time that checkouts waited for connections, by call site",
    kind: Kind::Seconds(|r, emit| sites(r, |used| used.waited.as_secs_f64(), |_| true, emit)),
};
static USE_HELD_TIME: Family = Family {
    name: "poolscope.use.held_time",
    unit: "s",
    description: "Time that connections were held, by call site",
    kind: Kind::Seconds(|r, emit| sites(r, |used| used.held.as_secs_f64(), |_| true, emit)),
};
static USE_BUSY_TIME: Family = Family {
    name: "poolscope.use.busy_time",
    unit: "s",
    description: "The part of the time that connections were held in which the database was at work, by call site",
    kind: Kind::Seconds(|r, emit| {
        let known = |used: &Use| !used.measured.is_zero();
        sites(r, |used| used.busy.as_secs_f64(), known, emit);
    }),
};
static N_PLUS_ONE: Family = Family {
    name: "poolscope.request.n_plus_one",
    unit: "{request}",
    description: "Requests that sent the same statement more often than the N+1 threshold",
    kind: Kind::Counter(|r, emit| {
        let mut requests = r.requests();
        for (route, count, _) in requests.repeated.read(Instant::now()) {
            let attribute = route_attribute(route);
            emit(count.total as f64, attribute.as_slice());
        }
    }),
};
static LEAKING: Family = Family {
    name: "poolscope.connection.leaking",
    unit: "{connection}",
    description: "Connections currently held for longer than the leak threshold",
    kind: Kind::UpDown(|r, emit| {
        if let Some(leaking) = r.leaking() {
            emit(leaking as f64, &[]);
        }
    }),
};
static LEAKS: Family = Family {
    name: "poolscope.connection.leaks",
    unit: "{connection}",
    description: "Connections held for longer than the leak threshold, including those returned since",
    kind: Kind::Counter(|r, emit| {
        if r.leaks.threshold().is_some() {
            emit(r.totals().leaks as f64, &[]);
        }
    }),
};

/// The metrics of a request, in the order of [`Used::values`](crate::request::attribution::Used::values).
pub(crate) static REQUEST: [&Family; 5] = [
    &REQUEST_CHECKOUTS,
    &REQUEST_QUERIES,
    &REQUEST_WAIT_TIME,
    &REQUEST_HELD_TIME,
    &REQUEST_QUERY_TIME,
];

/// All metrics, in the order of the guide.
pub(crate) static FAMILIES: [&Family; 32] = [
    &COUNT,
    &MAX,
    &IDLE_MAX,
    &PENDING,
    &TIMEOUTS,
    &WAIT_TIME,
    &USE_TIME,
    &CREATE_TIME,
    &PHASE_TIME,
    &OPERATION_DURATION,
    &SERVING,
    &REACHABLE,
    &IDLE_IN_TRANSACTION,
    &LEAKING,
    &LEAKS,
    &OPENED,
    &OPEN_FAILURES,
    &CLOSED,
    &CHECKOUTS_FAILED,
    &LONGEST_WAIT,
    &WAIT_TARGET,
    &ADVICE_ERROR,
    &USE_CHECKOUTS,
    &USE_WAIT_TIME,
    &USE_HELD_TIME,
    &USE_BUSY_TIME,
    &N_PLUS_ONE,
    &REQUEST_CHECKOUTS,
    &REQUEST_QUERIES,
    &REQUEST_WAIT_TIME,
    &REQUEST_HELD_TIME,
    &REQUEST_QUERY_TIME,
];

/// Reads the histogram with this number in [`REQUEST`].
fn per_request(recorder: &Recorder, number: usize, emit: EmitBuckets<'_>) {
    // Copied, so that requests do not wait for the lock while the reader runs.
    let all: Vec<(Key, Buckets)> = {
        let requests = recorder.requests();
        let routes = requests.routes.iter();
        routes
            .map(|(key, used)| (key.clone(), used[number].clone()))
            .collect()
    };
    for (key, buckets) in all {
        emit(&buckets, &key.attributes());
    }
}

fn sites(recorder: &Recorder, value: fn(&Use) -> f64, known: fn(&Use) -> bool, emit: Emit<'_>) {
    emit_sites(&recorder.usage_of_scrape(false), value, known, emit);
}

fn emit_sites(read: &BySite, value: fn(&Use) -> f64, known: fn(&Use) -> bool, emit: Emit<'_>) {
    for (site, used) in read.iter().filter(|(_, used)| known(&used.total)) {
        emit(value(&used.total), &site.attributes());
    }
}

impl Site {
    fn attributes(&self) -> Vec<KeyValue> {
        let mut attributes = vec![KeyValue::new(CALLER, Arc::clone(&self.caller))];
        attributes.extend(self.label.map(|label| KeyValue::new(LABEL, label)));
        attributes.extend(route_attribute(self.route.as_ref()));
        attributes
    }
}
