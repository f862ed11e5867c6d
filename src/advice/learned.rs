//! The models behind the advice: of the recent load and of the busiest load.

use std::collections::HashMap;
use std::fmt::Debug;
use std::sync::Arc;

use super::bottleneck::Bottleneck;
use super::model::{Model, NotEnoughData, Prediction, Recorded};
use crate::record::traffic::Traffic;

/// A model of a recorded load.
pub(super) trait Forecast: Debug + Send + Sync {
    /// Predicts the waits with `connections`, under `times` the recorded load.
    fn at(&self, connections: u32, times: f64) -> Prediction;

    /// Predicts the waits with the holds of these call sites half as long.
    fn halved(&self, places: &[u16], connections: u32, times: f64) -> Prediction;

    /// Returns the measurements of the record.
    fn recorded(&self) -> Recorded;

    /// Returns what limits the throughput of more connections. `names` are those of the call sites.
    fn bottleneck(&self, names: &HashMap<u16, String>) -> Bottleneck;

    /// Returns the throughput of this many always busy connections, in checkouts per second.
    fn throughput(&self, connections: u32) -> f64;
}

impl Forecast for Model {
    fn at(&self, connections: u32, times: f64) -> Prediction {
        Self::at(self, connections, times)
    }

    fn halved(&self, places: &[u16], connections: u32, times: f64) -> Prediction {
        Self::halved(self, places, connections, times)
    }

    fn recorded(&self) -> Recorded {
        self.recorded
    }

    fn bottleneck(&self, names: &HashMap<u16, String>) -> Bottleneck {
        Bottleneck::of(self, names)
    }

    fn throughput(&self, connections: u32) -> f64 {
        self.replay.throughput(connections)
    }
}

/// The traffic by window.
#[derive(Debug, Clone, Copy)]
pub(super) struct Measured {
    pub(super) minute: Traffic,
    pub(super) five_minutes: Traffic,
    pub(super) hour: Traffic,
    /// The p95 of the time queued within the last minute, in seconds.
    pub(super) minute_p95: f64,
    /// The time of the pool's clock at which this was read, in seconds.
    pub(super) now: f64,
}

/// The measurements and the models of the load.
#[derive(Debug, Clone)]
pub(super) struct Learned {
    pub(super) measured: Measured,
    /// The model of the recent checkouts.
    pub(super) recent: Result<Arc<dyn Forecast>, NotEnoughData>,
    /// The model of the busiest window of the day.
    pub(super) busiest: Option<Arc<dyn Forecast>>,
}

impl Learned {
    /// Returns the model of the busiest load and its window, `busiest` or `recent`.
    pub(super) fn peak(&self) -> Result<(&'static str, &dyn Forecast), NotEnoughData> {
        let recent = self.recent.as_ref().map(|model| ("recent", &**model));
        let Some(busiest) = self.busiest.as_deref() else {
            return recent.map_err(|missing| *missing);
        };
        let is_busier =
            |recent: &dyn Forecast| recent.recorded().demand() >= busiest.recorded().demand();
        let recent = recent.ok().filter(|(_, recent)| is_busier(*recent));
        Ok(recent.unwrap_or(("busiest", busiest)))
    }
}
