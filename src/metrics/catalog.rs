//! The list of metrics, from which the OpenTelemetry instruments and the Prometheus page are built.
//! A test compares the guide's table with it.
//!
//! Gauges and counters are absolute readings of the inventory and the pool state, taken on collection,
//! so they cannot drift from it.

use std::sync::Arc;

use opentelemetry::KeyValue;
use opentelemetry_semantic_conventions::attribute::DB_CLIENT_CONNECTION_STATE;
use opentelemetry_semantic_conventions::metric::{
    DB_CLIENT_CONNECTION_COUNT, DB_CLIENT_CONNECTION_IDLE_MAX, DB_CLIENT_CONNECTION_MAX,
    DB_CLIENT_CONNECTION_PENDING_REQUESTS, DB_CLIENT_CONNECTION_TIMEOUTS,
};
use tokio::time::Instant;

use crate::backend::SessionState;
use crate::metrics::family::{Emit, Family, Kind};
use crate::metrics::histograms::{
    CREATE_TIME, OPERATION_DURATION, PHASE_TIME, REQUEST, USE_TIME, WAIT_TIME,
};
use crate::record::clock::seconds;
use crate::record::debt::Over;
use crate::record::ledger::Holder;
use crate::record::pool_events::CloseReason;
use crate::record::recorder::Recorder;
use crate::record::requests::route_attribute;
use crate::record::usage::{Site, Use};

/// Attribute with a checkout's source line.
pub(crate) const CALLER: &str = "poolscope.caller";
/// Attribute with a checkout's label.
pub(crate) const LABEL: &str = "poolscope.checkout.label";
/// Attribute with how a checkout ended.
const OUTCOME: &str = "poolscope.checkout.outcome";
/// Attribute with why a connection was closed.
const CLOSE_REASON: &str = "poolscope.connection.close_reason";

/// All metrics, in the order of the guide.
pub(crate) static FAMILIES: [Family; 33] = [
    Family {
        name: DB_CLIENT_CONNECTION_COUNT,
        unit: "{connection}",
        description: "The number of connections that are currently in the given state",
        kind: Kind::UpDown(|r, emit| {
            let counts = r.counts();
            let state = |state: &'static str| [KeyValue::new(DB_CLIENT_CONNECTION_STATE, state)];
            emit(f64::from(counts.idle), &state("idle"));
            emit(f64::from(counts.checked_out()), &state("used"));
        }),
    },
    Family {
        name: DB_CLIENT_CONNECTION_MAX,
        unit: "{connection}",
        description: "The maximum number of open connections allowed: pool size and overflow",
        kind: Kind::UpDown(|r, emit| emit(f64::from(r.counts().max_connections()), &[])),
    },
    Family {
        name: DB_CLIENT_CONNECTION_IDLE_MAX,
        unit: "{connection}",
        description: "The maximum number of idle open connections allowed: the pool size",
        kind: Kind::UpDown(|r, emit| emit(f64::from(r.counts().pool_size), &[])),
    },
    Family {
        name: DB_CLIENT_CONNECTION_PENDING_REQUESTS,
        unit: "{request}",
        description: "The number of current pending requests for an open connection",
        kind: Kind::UpDown(|r, emit| emit(f64::from(r.state().ledger.waiters.len()), &[])),
    },
    Family {
        name: DB_CLIENT_CONNECTION_TIMEOUTS,
        unit: "{timeout}",
        description: "The number of connection timeouts that have occurred trying to obtain a connection from the pool",
        kind: Kind::Counter(|r, emit| emit(r.totals().timeouts as f64, &[])),
    },
    WAIT_TIME,
    USE_TIME,
    CREATE_TIME,
    PHASE_TIME,
    OPERATION_DURATION,
    Family {
        name: "poolscope.pool.serving",
        unit: "",
        description: "1 while the pool can serve, 0 while health answers 503",
        kind: Kind::Gauge(|r, emit| emit(f64::from(u8::from(r.is_serving())), &[])),
    },
    Family {
        name: "poolscope.pool.database_reachable",
        unit: "",
        description: "0 if the database could not be reached and no checkout has succeeded since, otherwise 1",
        kind: Kind::Gauge(|r, emit| emit(f64::from(u8::from(r.is_database_reachable())), &[])),
    },
    Family {
        name: "poolscope.connection.idle_in_transaction",
        unit: "{connection}",
        description: "Connections held with an open transaction and no query running, as far as the pool can tell",
        kind: Kind::UpDown(|r, emit| {
            if !r.inventory.sees_transactions() {
                return;
            }
            let state = r.state();
            let states = state.ledger.holders.iter().map(Holder::state);
            let idle = states.filter(|state| *state == Some(SessionState::IdleInTransaction));
            let idle = idle.count();
            drop(state);
            emit(idle as f64, &[]);
        }),
    },
    Family {
        name: "poolscope.connection.leaking",
        unit: "{connection}",
        description: "Connections currently held for longer than the leak threshold",
        kind: Kind::UpDown(|r, emit| {
            if let Some(leaking) = r.leaking() {
                emit(leaking as f64, &[]);
            }
        }),
    },
    Family {
        name: "poolscope.connection.leaks",
        unit: "{connection}",
        description: "Connections held for longer than the leak threshold, including those returned since",
        kind: Kind::Counter(|r, emit| {
            if r.leaks.threshold.is_some() {
                emit(r.totals().leaks as f64, &[]);
            }
        }),
    },
    Family {
        name: "poolscope.connection.opened",
        unit: "{connection}",
        description: "Connections opened",
        kind: Kind::Counter(|r, emit| emit(r.totals().connections_opened as f64, &[])),
    },
    Family {
        name: "poolscope.connection.open_failures",
        unit: "{failure}",
        description: "Failed attempts to open a connection",
        kind: Kind::Counter(|r, emit| {
            if let Some(failures) = r.totals().connect_failures {
                emit(failures as f64, &[]);
            }
        }),
    },
    Family {
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
    },
    Family {
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
    },
    Family {
        name: "poolscope.wait.longest",
        unit: "s",
        description: "The time that the longest-waiting checkout has waited; 0 if none is waiting",
        kind: Kind::Gauge(|r, emit| {
            let longest = r.state().ledger.longest_waiter().map(|waiter| waiter.since);
            let waited = longest.map_or(0.0, |since| since.elapsed().as_secs_f64());
            emit(waited, &[]);
        }),
    },
    Family {
        name: "poolscope.wait.target",
        unit: "s",
        description: "The target for the 95th percentile of the time waited for a connection",
        kind: Kind::Gauge(|r, emit| {
            if let Some(target) = r.inventory.wait_target() {
                emit(target.as_secs_f64(), &[]);
            }
        }),
    },
    Family {
        name: "poolscope.advice.error",
        unit: "",
        description: "The relative error of the predicted p95 waits against the measured ones: the median over the last hour's minutes in which checkouts queued",
        kind: Kind::Gauge(|r, emit| {
            let error = r.accuracy().and_then(|it| it.median_error_queueing_pct);
            if let Some(percent) = error {
                emit(percent / 100.0, &[]);
            }
        }),
    },
    Family {
        name: "poolscope.use.checkouts",
        unit: "{checkout}",
        description: "Connections returned, by call site",
        kind: Kind::Counter(|r, emit| {
            // The first of the usage metrics in `FAMILIES`.
            sites(r, true, |used| Some(used.checkouts as f64), emit);
        }),
    },
    Family {
        name: "poolscope.use.wait_time",
        unit: "s",
        description: "Time that checkouts waited for connections, by call site",
        kind: Kind::Counter(|r, emit| sites(r, false, |used| Some(seconds(used.waited)), emit)),
    },
    Family {
        name: "poolscope.use.held_time",
        unit: "s",
        description: "Time that connections were held, by call site",
        kind: Kind::Counter(|r, emit| sites(r, false, |used| Some(seconds(used.held)), emit)),
    },
    Family {
        name: "poolscope.use.busy_time",
        unit: "s",
        description: "The part of the time that connections were held in which the database was at work, by call site",
        kind: Kind::Counter(|r, emit| {
            let busy = |used: &Use| (used.measured > 0).then(|| seconds(used.busy));
            sites(r, false, busy, emit);
        }),
    },
    Family {
        name: "poolscope.use.blamed_time",
        unit: "s",
        description: "Time that checkouts queued because of the connections held, by call site of the holds",
        kind: Kind::Counter(|r, emit| {
            let [owing] = r.owing([Over::Life]);
            for (site, debt) in &owing.sites {
                emit(debt.owed.seconds(), &site.attributes());
            }
        }),
    },
    Family {
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
    },
    REQUEST[0],
    REQUEST[1],
    REQUEST[2],
    REQUEST[3],
    REQUEST[4],
];

/// Passes a value of each call site that has it. All usage metrics of one scrape have the same reading;
/// the first of them in [`FAMILIES`] makes it.
fn sites(r: &Recorder, is_first: bool, value: fn(&Use) -> Option<f64>, emit: Emit<'_>) {
    for (site, used) in r.usage_of_scrape(is_first).iter() {
        if let Some(value) = value(&used.total) {
            emit(value, &site.attributes());
        }
    }
}

impl Site {
    pub(crate) fn attributes(&self) -> Vec<KeyValue> {
        let mut attributes = vec![KeyValue::new(CALLER, Arc::clone(&self.caller))];
        attributes.extend(self.label.map(|label| KeyValue::new(LABEL, label)));
        attributes.extend(route_attribute(self.route.as_ref()));
        attributes
    }
}
