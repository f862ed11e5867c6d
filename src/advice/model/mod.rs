//! Predicts how long checkouts queue with another number of connections, or under another load.
//!
//! No formula predicts this, so the recorded checkouts are replayed through a pool of another size. The
//! mutual slowdown of concurrent holds is removed from each of them first.
//!
//! ```text
//! trace.rs ─▶ station.rs ─▶ replay.rs ─▶ prediction.rs
//! recorded     undo.rs       simulator.rs  waits
//!              clients.rs, handover.rs
//! ```
//!
//! The model uses neither a clock nor I/O, and the same record always gives the same answer.

mod clients;
mod handover;
mod prediction;
mod random;
mod replay;
mod simulator;
mod size;
mod station;
mod statistics;
#[cfg(test)]
mod tests;
mod trace;
mod undo;

pub(crate) use self::prediction::Prediction;
pub(crate) use self::simulator::Station;
pub(crate) use self::size::smallest;
pub(crate) use self::trace::{Checkout, Trace};

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use self::clients::Clients;
use self::handover::handover;
use self::replay::Replay;
use self::station::{Fit, Part};

/// The data that is missing before a model can be learned.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct NotEnough {
    /// Further seconds to observe.
    pub(crate) seconds: f64,
    /// Further checkouts to complete.
    pub(crate) checkouts: u64,
}

/// A model of a recorded load.
#[derive(Debug)]
pub(crate) struct Model {
    replay: Replay,
    pub(crate) fit: Fit,
    /// The clients, if each waits for a response before the next request.
    pub(crate) clients: Option<Clients>,
    pub(crate) recorded: Recorded,
    /// Cached predictions, so that no replay runs twice.
    known: Mutex<HashMap<(u32, u64), Prediction>>,
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
}

/// The saturation level.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Limit {
    /// The smallest number of connections that reaches 95 % of the maximum throughput.
    pub(crate) connections: u32,
    /// The maximum throughput, in checkouts per second.
    pub(crate) rate: f64,
}

/// A throughput that is lower than the maximum by at most this share counts as the maximum.
const WITHIN: f64 = 0.05;

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
    pub(crate) fn learn(trace: &Trace) -> Result<Self, NotEnough> {
        let missing = NotEnough {
            seconds: (Self::SECONDS - trace.seconds()).max(0.0),
            checkouts: Self::CHECKOUTS.saturating_sub(trace.completed() as u64),
        };
        if missing.seconds > 0.0 || missing.checkouts > 0 {
            return Err(missing);
        }
        let recorded = Recorded::of(trace);
        let (clients, handover) = (Clients::of(trace), handover(trace));
        let replay = |fit: &Fit| Replay::new(trace, fit, clients, handover);
        let fit = Fit::of(trace, |fit| {
            replay(fit).distance(trace, recorded.connections)
        });
        Ok(Self {
            replay: replay(&fit),
            fit,
            clients,
            recorded,
            known: Mutex::default(),
        })
    }

    /// Predicts the waits with `connections`, under `load` times the recorded load.
    pub(crate) fn at(&self, connections: u32, load: f64) -> Prediction {
        let connections = connections.clamp(1, Self::MOST);
        let load = if load.is_finite() {
            load.clamp(1e-3, 1e3)
        } else {
            1.0
        };
        let key = (connections, load.to_bits());
        let known = || self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(prediction) = known().get(&key) {
            return *prediction;
        }
        let mut prediction = match self.recorded.is_enough(connections, load) {
            true => Prediction::without_waits(connections, &self.recorded, load),
            false => {
                let replayed = self.replay.run(connections, load);
                Prediction::of(connections, self.recorded.rate * load, &replayed)
            }
        };
        prediction.beyond_data = connections.saturating_sub(self.recorded.in_use);
        known().insert(key, prediction);
        prediction
    }

    /// Returns the throughput of this many always busy connections, in checkouts per second.
    pub(crate) fn throughput(&self, connections: u32) -> f64 {
        self.replay.throughput(connections.clamp(1, Self::MOST))
    }

    /// Returns the saturation level; `None` if each further connection serves more.
    pub(crate) fn limit(&self) -> Option<Limit> {
        let inside = self.replay.mean_inside();
        let rate = match self.fit.station {
            Station::Free => return None,
            Station::Lock => 1.0 / inside,
            Station::Shared(processors) => processors.max(1.0) / inside,
        };
        if !rate.is_finite() {
            return None;
        }
        let is_enough = |connections| self.throughput(connections) >= (1.0 - WITHIN) * rate;
        let connections = smallest(Self::MOST / 10, is_enough)?;
        Some(Limit { connections, rate })
    }

    /// Returns the mean work of a hold at the station, in seconds.
    pub(crate) fn work(&self) -> f64 {
        self.replay.mean_inside()
    }

    /// Returns whether concurrent holds lengthen the time between queries, instead of the queries.
    pub(crate) fn is_outside(&self) -> bool {
        self.fit.part == Part::Outside
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
        }
    }
}

/// Returns the p95 of the time queued, in seconds; infinite if more than 5 % of the checkouts gave up
/// or were rejected.
pub(crate) fn queued_p95(checkouts: &[Checkout]) -> f64 {
    let waits = checkouts
        .iter()
        .filter(|it| it.is_served() || it.returned.is_finite());
    let mut waits: Vec<f64> = waits
        .map(|it| {
            if it.is_served() {
                it.queued()
            } else {
                f64::INFINITY
            }
        })
        .collect();
    waits.sort_by(f64::total_cmp);
    prediction::quantile(&waits, 0.95)
}

/// Returns the number of connections in use after each grant, sorted.
fn levels(trace: &Trace) -> Vec<u32> {
    let mut levels: Vec<u32> = Vec::with_capacity(trace.checkouts.len());
    for run in &trace.runs {
        let served = || trace.of_run(run).iter().filter(|it| it.is_served());
        let mut events: Vec<(f64, bool)> = served().map(|it| (it.granted, true)).collect();
        events.extend(served().map(|it| (it.returned, false)));
        events.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
        let mut level = 0_u32;
        for (_, is_grant) in events {
            if is_grant {
                level += 1;
                levels.push(level);
            } else {
                level = level.saturating_sub(1);
            }
        }
    }
    levels.sort_unstable();
    levels
}
