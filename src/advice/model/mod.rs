//! Predicts how long checkouts queue with another number of connections, or under another load.
//!
//! No formula predicts this, so the recorded checkouts are replayed through a pool of another size. The
//! mutual slowdown of concurrent holds is removed from each of them first.
//!
//! ```text
//! trace.rs ─▶ station.rs ─▶ replay.rs ─▶ prediction.rs
//! recorded     undo.rs       simulator.rs, events.rs
//!              clients.rs, handover.rs
//! ```
//!
//! The model uses neither a clock nor I/O, and the same record always gives the same answer.

mod clients;
mod events;
mod handover;
mod prediction;
pub(crate) mod random;
mod replay;
mod simulator;
mod size;
mod station;
mod statistics;
#[cfg(test)]
mod tests;
mod trace;
mod undo;

pub(crate) use self::clients::Clients;
pub(crate) use self::prediction::Prediction;
pub(crate) use self::simulator::Station;
pub(crate) use self::size::smallest;
pub(crate) use self::station::Part;
pub(crate) use self::trace::{Checkout, Trace};

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use serde::Serialize;

use self::handover::handover;
use self::replay::{Replay, Replayed};
use self::station::Fit;
use self::undo::{Timeline, Visit};

/// How much more must be observed before a recommendation is possible.
#[non_exhaustive]
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct NotEnoughData {
    /// Seconds to observe.
    pub seconds_more: f64,
    /// Number of checkouts to complete.
    pub checkouts_more: u64,
}

/// A predicted case: the connections, the bits of the load, and the call sites with shorter holds.
type Case = (u32, u64, Vec<u16>);

/// A model of a recorded load.
#[derive(Debug)]
pub(crate) struct Model {
    pub(crate) replay: Replay,
    pub(crate) fit: Fit,
    pub(crate) recorded: Recorded,
    /// Cached predictions, so that no replay runs twice.
    known: Mutex<HashMap<Case, Prediction>>,
}

/// The measurements of a record.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct Recorded {
    /// Number of checkouts, served or not.
    pub(crate) checkouts: u64,
    /// Start and end of the record, in seconds of the pool's clock.
    pub(crate) from: f64,
    pub(crate) until: f64,
    /// Checkouts requested per second.
    pub(crate) rate: f64,
    /// Number of connections allowed at the end of the record.
    pub(crate) connections: u32,
    /// The most connections in use at once, and the 99th percentile of the connections in use at a
    /// grant.
    pub(crate) peak: u32,
    pub(crate) in_use: u32,
    /// Mean hold time, and the part of it in which a query was in flight, in seconds.
    pub(crate) held: f64,
    pub(crate) busy: Option<f64>,
    /// The p95 of the time queued, in seconds; infinite if more than 5 % of the checkouts got no
    /// connection.
    pub(crate) queued_p95: f64,
    /// The clients, if each waits for a response before the next request.
    pub(crate) clients: Option<Clients>,
}

impl Model {
    /// The minimum record to learn from: seconds and completed checkouts.
    pub(crate) const SECONDS: f64 = 20.0;
    pub(crate) const CHECKOUTS: u64 = 1000;
    /// The largest number of connections to predict.
    pub(crate) const MOST: u32 = 10_000;

    /// Learns a model from a record.
    ///
    /// # Errors
    ///
    /// Returns what is missing if the record is too small.
    pub(crate) fn learn(trace: &Trace) -> Result<Self, NotEnoughData> {
        let missing = NotEnoughData {
            seconds_more: (Self::SECONDS - trace.seconds()).max(0.0).ceil(),
            checkouts_more: Self::CHECKOUTS.saturating_sub(trace.completed() as u64),
        };
        if missing.seconds_more > 0.0 || missing.checkouts_more > 0 {
            return Err(missing);
        }
        let recorded = Recorded::of(trace);
        let handover = handover(trace);
        let replay = |fit: &Fit| Replay::new(trace, fit, recorded.clients, handover);
        let fit = Fit::of(trace, |fit| {
            replay(fit).distance(trace, recorded.connections)
        });
        Ok(Self {
            replay: replay(&fit),
            fit,
            recorded,
            known: Mutex::default(),
        })
    }

    /// Predicts the waits with `connections`, under `load` times the recorded load.
    pub(crate) fn at(&self, connections: u32, load: f64) -> Prediction {
        self.halved(&[], connections, load)
    }

    /// Predicts the same with the holds of these call sites half as long.
    pub(crate) fn halved(&self, places: &[u16], connections: u32, load: f64) -> Prediction {
        let connections = connections.clamp(1, Self::MOST);
        let load = if load.is_finite() {
            load.clamp(1e-3, 1e3)
        } else {
            1.0
        };
        let key = (connections, load.to_bits(), places.to_vec());
        let known = || self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(prediction) = known().get(&key) {
            return *prediction;
        }
        let rate = self.recorded.rate * load;
        let replayed = match self.recorded.is_enough(connections, load) {
            true => Replayed {
                served: rate,
                in_use: self.recorded.demand() * load,
                ..Replayed::default()
            },
            false => self.replay.run(connections, load, places),
        };
        let prediction = Prediction {
            beyond_data: connections.saturating_sub(self.recorded.in_use),
            ..Prediction::of(connections, rate, replayed)
        };
        known().insert(key, prediction);
        prediction
    }
}

impl Recorded {
    /// Returns the mean number of connections needed: arrivals per second times the hold time.
    pub(crate) fn demand(&self) -> f64 {
        self.rate * self.held
    }

    /// Returns the smallest and the largest size near the observed one: within a fourth; for a pool that
    /// was never full, from the most in use on.
    pub(crate) fn near(&self) -> (u32, u32) {
        let step = |connections: u32| (connections / 4).max(1);
        let full = self.connections - step(self.connections).min(self.connections - 1);
        let least = if self.peak < self.connections {
            self.peak.min(full)
        } else {
            full
        };
        (
            least.max(1),
            self.connections.saturating_add(step(self.connections)),
        )
    }

    /// Returns whether no checkout would queue. If fewer connections were in use than allowed, a pool of
    /// only that many would have behaved the same.
    fn is_enough(&self, connections: u32, load: f64) -> bool {
        let needed = f64::from(self.peak) * load.max(1.0);
        self.peak < self.connections && f64::from(connections) >= needed
    }

    pub(crate) fn of(trace: &Trace) -> Self {
        let complete = || trace.checkouts.iter().filter(|it| it.is_complete());
        let count = complete().count().max(1) as f64;
        let watched = complete().filter_map(|it| Some(it.queries?.busy));
        let watched: Vec<f64> = watched.collect();
        let levels = levels(trace);
        Self {
            checkouts: trace.checkouts.len() as u64,
            from: trace.runs.first().map_or(0.0, |run| run.from),
            until: trace.runs.last().map_or(0.0, |run| run.until),
            rate: trace.rate(),
            // A pool that does not know its maximum records 0.
            connections: trace.checkouts.last().map_or(1, |it| it.size.into()).max(1),
            peak: levels.last().copied().unwrap_or_default(),
            in_use: levels
                .get(levels.len() * 99 / 100)
                .copied()
                .unwrap_or_default(),
            held: complete().map(Checkout::held).sum::<f64>() / count,
            busy: (!watched.is_empty()).then(|| watched.iter().sum::<f64>() / watched.len() as f64),
            queued_p95: queued_p95(&trace.checkouts),
            clients: Clients::of(trace),
        }
    }
}

/// Returns the p95 of the time queued, in seconds; infinite if more than 5 % of the checkouts gave up
/// or were rejected.
pub(crate) fn queued_p95(checkouts: &[Checkout]) -> f64 {
    let known = |it: &&Checkout| it.is_served() || it.returned.is_finite();
    let mut waits: Vec<f64> = checkouts
        .iter()
        .filter(known)
        .map(Checkout::queued)
        .collect();
    waits.sort_by(f64::total_cmp);
    prediction::quantile(&waits, 0.95)
}

/// Returns the number of connections in use after each grant, sorted.
fn levels(trace: &Trace) -> Vec<u32> {
    let others = trace.runs.iter().flat_map(|run| {
        let served = trace.of_run(run).iter().filter(|it| it.is_served());
        let served: Vec<&Checkout> = served.collect();
        Timeline::new(&served, Visit::hold).others
    });
    let mut levels: Vec<u32> = others.map(|others| others as u32 + 1).collect();
    levels.sort_unstable();
    levels
}
