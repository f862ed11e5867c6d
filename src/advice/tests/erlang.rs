//! A reference model: Erlang C, with a service rate that rises, stays or falls by a formula.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use crate::advice::bottleneck::{Bottleneck, BottleneckKind, Contention};
use crate::advice::learned::{Forecast, Learned, Measured};
use crate::advice::model::{Clients, Model, NotEnoughData, Prediction, Recorded};
use crate::record::traffic::{GaugeValues, Traffic};

#[derive(Debug, Clone)]
pub(crate) struct Erlang {
    pub(crate) arrivals: f64,
    pub(crate) held: f64,
    /// The level with the highest throughput, and the share of it that each further connection costs.
    pub(crate) saturates: Option<(u32, f64)>,
    /// Whether the model can predict other sizes.
    pub(crate) understood: bool,
    /// Whether the queries are observed.
    pub(crate) watched: bool,
    pub(crate) clients: Option<u32>,
    /// The end, the pool size and the p95 of the time queued of the record, in seconds.
    pub(crate) until: f64,
    pub(crate) connections: u32,
    pub(crate) queued_p95: f64,
}

/// The time of the request for advice, in seconds since the pool was created.
pub(crate) const NOW: f64 = 36_000.0;

impl Erlang {
    /// Returns a model of a load that was recorded just now.
    pub(crate) const fn new(arrivals: f64, held: f64) -> Self {
        Self {
            arrivals,
            held,
            saturates: None,
            understood: true,
            watched: true,
            clients: None,
            until: NOW,
            connections: 5,
            queued_p95: 0.1,
        }
    }

    fn served(&self, connections: u32) -> f64 {
        let (most, cost) = self.saturates.unwrap_or((u32::MAX, 0.0));
        let beyond = f64::from(connections.saturating_sub(most));
        f64::from(connections.min(most)) / self.held * (1.0 - cost * beyond).max(0.01)
    }
}

impl Forecast for Erlang {
    fn at(&self, connections: u32, times: f64) -> Prediction {
        // The model limits the size in the same way.
        let connections = connections.clamp(1, Model::MOST);
        let arrivals = self.arrivals * times;
        let utilization = arrivals / self.served(connections);
        // The sum over all states without a queue; those with a queue are a geometric series.
        let (mut state, mut below) = (1.0, 0.0);
        for n in 1..=connections {
            below += state;
            state *= arrivals / self.served(n);
            let scale = 1.0 / f64::max(state, 1.0);
            (state, below) = (state * scale, below * scale);
        }
        let waiting = state / (1.0 - utilization);
        let queueing = if utilization < 1.0 {
            waiting / (below + waiting)
        } else {
            1.0
        };
        let pace = self.served(connections) - arrivals;
        let beyond = |share: f64| match () {
            () if utilization >= 1.0 => f64::INFINITY,
            () if queueing <= share => 0.0,
            () => (queueing / share).ln() / pace,
        };
        Prediction {
            connections,
            utilization,
            served: arrivals.min(self.served(connections)),
            queueing,
            mean: if utilization < 1.0 {
                queueing / pace
            } else {
                f64::INFINITY
            },
            p50: beyond(0.5),
            p95: beyond(0.05),
            p99: beyond(0.01),
            p95_range: (beyond(0.05), beyond(0.05)),
            beyond_data: 0,
        }
    }

    fn halved(&self, _: &[u16], connections: u32, times: f64) -> Prediction {
        let held = self.held / 2.0;
        Self {
            held,
            ..self.clone()
        }
        .at(connections, times)
    }

    fn recorded(&self) -> Recorded {
        Recorded {
            checkouts: 20_000,
            from: self.until - 300.0,
            until: self.until,
            rate: self.arrivals,
            connections: self.connections,
            peak: self.connections,
            in_use: self.connections,
            held: self.held,
            busy: self.watched.then_some(self.held / 4.0),
            queued_p95: self.queued_p95,
            clients: self.clients.map(|number| Clients { number, think: 0.0 }),
        }
    }

    fn bottleneck(&self, _: &HashMap<u16, String>) -> Bottleneck {
        let level = self.saturates.map(|(level, _)| level);
        Bottleneck {
            kind: match level {
                _ if !self.understood => BottleneckKind::Unknown,
                None => BottleneckKind::Connections,
                Some(_) => BottleneckKind::Database,
            },
            contention: level.map(|_| Contention::Shared),
            parallel: level.map(f64::from),
            work_ms: level.map(|_| self.held * 1e3),
            saturates_at: level,
            most_per_second: level.map(|level| self.served(level)),
            call_sites: Vec::new(),
        }
    }

    fn throughput(&self, connections: u32) -> f64 {
        self.served(connections)
    }
}

/// Returns the traffic of `rate` arrivals per second over `seconds`, each held for `held`.
pub(crate) fn demand(seconds: f64, rate: f64, held: Duration) -> Traffic {
    let arrivals = (seconds * rate) as u64;
    Traffic {
        observed: (seconds * 1e9) as u64,
        arrivals,
        peak_arrivals: rate as u64,
        returned: arrivals,
        held: arrivals * held.as_nanos() as u64,
        peak: GaugeValues {
            checked_out: 3,
            ..GaugeValues::default()
        },
        ..Traffic::default()
    }
}

/// Returns a constant rate over an hour.
pub(crate) fn steady(rate: f64, held: Duration) -> Learned {
    learned(Erlang::new(rate, held.as_secs_f64()))
}

/// Returns a constant load over an hour.
pub(crate) fn learned(recent: Erlang) -> Learned {
    let held = Duration::from_secs_f64(recent.held);
    let of = |seconds| demand(seconds, recent.arrivals, held);
    Learned {
        measured: Measured {
            minute: of(60.0),
            five_minutes: of(300.0),
            hour: of(3600.0),
            minute_p95: recent.queued_p95,
            now: NOW,
        },
        recent: Ok(Arc::new(recent)),
        busiest: None,
    }
}

/// Returns the measurements of a pool that has only seen this load.
pub(crate) fn young(seconds: f64, rate: f64, held: Duration) -> Learned {
    let seen = demand(seconds, rate, held);
    Learned {
        measured: Measured {
            minute: seen,
            five_minutes: seen,
            hour: seen,
            minute_p95: 0.0,
            now: seconds,
        },
        recent: Err(NotEnoughData {
            seconds_more: (Model::SECONDS - seconds).max(0.0),
            checkouts_more: Model::CHECKOUTS.saturating_sub(seen.returned),
        }),
        busiest: None,
    }
}
