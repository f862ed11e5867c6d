//! A textbook in the place of the model: Erlang C, for rates that rise, stay or fall by a formula.

use std::time::Duration;

use super::bottleneck::{Bottleneck, BottleneckKind};
use super::learned::Forecast;
use crate::advise::{Model, NotEnough, Prediction};
use crate::observe::load::{Load, Loads};

pub(super) struct Erlang {
    pub(super) arrivals: f64,
    pub(super) held: f64,
    /// The level at which the most is served, and what share of it each further one costs.
    pub(super) saturates: Option<(u32, f64)>,
}

impl Erlang {
    pub(super) fn of(load: &Load, saturates: Option<(u32, f64)>) -> Result<Self, NotEnough> {
        if load.held.count < 1000 || load.seconds < 20.0 {
            return Err(NotEnough {
                seconds: (20.0 - load.seconds).max(0.0),
                checkouts: 1000_u64.saturating_sub(load.held.count),
            });
        }
        Ok(Self {
            arrivals: load.arrival_rate(),
            held: load.held.mean().unwrap(),
            saturates,
        })
    }

    fn served(&self, connections: u32) -> f64 {
        let (most, cost) = self.saturates.unwrap_or((u32::MAX, 0.0));
        let beyond = f64::from(connections.saturating_sub(most));
        f64::from(connections.min(most)) / self.held * (1.0 - cost * beyond).max(0.01)
    }
}

impl Forecast for Erlang {
    fn at(&self, connections: u32, times: f64) -> Prediction {
        // As the model does.
        let connections = connections.clamp(1, Model::MOST);
        let arrivals = self.arrivals * times;
        let utilization = arrivals / self.served(connections);
        // Of all states that do not queue; those that do are a geometric series.
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
            beyond_data: 0,
        }
    }

    fn rate(&self, connections: u32) -> Option<f64> {
        Some(self.served(connections))
    }

    fn bottleneck(&self) -> Bottleneck {
        let level = self.saturates.map(|(level, _)| level);
        Bottleneck {
            kind: level.map_or(BottleneckKind::Connections, |_| BottleneckKind::Database),
            saturates_at: level,
            most_per_second: level.map(|level| self.served(level)),
            falls_beyond: self
                .saturates
                .filter(|(_, cost)| *cost > 0.0)
                .map(|(at, _)| at),
            variation: None,
            turns: None,
            holds: Vec::new(),
        }
    }
}

/// Some seconds of so many arrivals a second, each held for so long.
pub(super) fn load(seconds: f64, rate: f64, held: Duration) -> Load {
    let mut load = Load {
        seconds,
        arrivals: (seconds * rate) as u64,
        ..Load::default()
    };
    for _ in 0..load.arrivals {
        load.held.add(held.as_secs_f64());
    }
    load
}

/// The same rate throughout an hour.
pub(super) fn steady(rate: f64, held: Duration) -> Loads {
    Loads {
        minute: load(60.0, rate, held),
        five_minutes: load(300.0, rate, held),
        hour: load(3600.0, rate, held),
        busiest: load(300.0, rate, held),
        busiest_ended: 0.0,
    }
}
