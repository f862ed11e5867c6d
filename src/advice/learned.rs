//! The models behind the advice: of the recent load and of the busiest load.

use std::sync::Arc;

use super::Asking;
use super::bottleneck::Bottleneck;
use super::model::{Model, NotEnough, Prediction, Recorded};
use super::sizes::{Case, Demand};
use crate::record::traffic::Traffic;

/// A model of a recorded load.
pub(super) trait Forecast: Send + Sync {
    /// Predicts the waits with `connections`, under `times` the recorded load.
    fn at(&self, connections: u32, times: f64) -> Prediction;

    /// Returns the measurements of the record.
    fn recorded(&self) -> Recorded;

    /// Returns what limits the throughput of more connections.
    fn bottleneck(&self) -> Bottleneck;

    /// Returns the throughput of this many always busy connections, in checkouts per second.
    fn throughput(&self, connections: u32) -> f64;

    /// Returns whether the model explains how concurrent holds slow each other down, so that other
    /// sizes can be predicted.
    fn is_understood(&self) -> bool {
        true
    }

    /// Returns the number of clients if each waits for a response before sending the next request.
    fn clients(&self) -> Option<u32> {
        None
    }
}

impl Forecast for Model {
    fn at(&self, connections: u32, times: f64) -> Prediction {
        Self::at(self, connections, times)
    }

    fn recorded(&self) -> Recorded {
        self.recorded
    }

    fn bottleneck(&self) -> Bottleneck {
        Bottleneck::of(self)
    }

    fn throughput(&self, connections: u32) -> f64 {
        Self::throughput(self, connections)
    }

    fn is_understood(&self) -> bool {
        self.fit.understood
    }

    fn clients(&self) -> Option<u32> {
        self.clients.map(|clients| clients.number)
    }
}

/// The traffic by window.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
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
#[derive(Clone)]
pub(super) struct Learned {
    pub(super) measured: Measured,
    /// The model of the recent checkouts.
    pub(super) recent: Result<Arc<dyn Forecast>, NotEnough>,
    /// The model of the busiest window of the day, if busier than the recent load.
    pub(super) busiest: Option<Arc<dyn Forecast>>,
}

impl Learned {
    /// Returns the models, or what is missing if there is none.
    pub(super) fn models(&self) -> Result<Models<'_>, NotEnough> {
        let busiest = self.busiest.as_ref().map(|it| ("busiest", &**it));
        let recent = self.recent.as_ref().map(|it| ("recent", &**it));
        let (window, peak) = match (busiest, recent) {
            (Some(busiest), Ok(recent))
                if busiest.1.recorded().demand() <= recent.1.recorded().demand() =>
            {
                recent
            }
            (Some(busiest), _) => busiest,
            (None, recent) => recent.map_err(|missing| *missing)?,
        };
        Ok(Models {
            measured: &self.measured,
            window,
            peak,
            usual: recent.map_or(peak, |(_, recent)| recent),
        })
    }
}

/// The models to predict with.
#[derive(Clone, Copy)]
pub(super) struct Models<'a> {
    pub(super) measured: &'a Measured,
    /// The window of `peak`: `busiest` or `recent`.
    pub(super) window: &'static str,
    /// The busiest known load.
    pub(super) peak: &'a dyn Forecast,
    /// The recent load; the busiest if there is no recent model.
    pub(super) usual: &'a dyn Forecast,
}

impl<'a> Models<'a> {
    /// Returns the arrivals per second of the busiest load.
    pub(super) fn busiest_rate(&self) -> f64 {
        self.peak.recorded().rate
    }

    /// Returns the mean hold time of the busiest load, in seconds.
    pub(super) fn held(&self) -> f64 {
        self.peak.recorded().held
    }

    /// Returns how long ago the busiest load ended, in seconds.
    pub(super) fn ended(&self) -> f64 {
        (self.measured.now - self.peak.recorded().until).max(0.0)
    }

    /// Returns the largest load to plan for.
    pub(super) fn peak(&self, asking: &Asking) -> Demand<'a> {
        Demand {
            forecast: self.peak,
            times: asking.times(),
        }
    }

    /// Returns the current load.
    pub(super) fn now(&self) -> Demand<'a> {
        self.at_rate(self.measured.minute.rate(), 1.0)
    }

    fn at_rate(&self, rate: f64, times: f64) -> Demand<'a> {
        Demand {
            forecast: self.usual,
            times: times * rate / self.usual.recorded().rate,
        }
    }

    /// Returns the measured p95 wait of the busiest load, in seconds, if it was measured at the size in
    /// force and was within the target.
    pub(super) fn served(&self, asking: &Asking) -> Option<f64> {
        let recorded = self.peak.recorded();
        let is_same = recorded.connections == asking.counts.max_connections();
        (is_same && recorded.queued_p95 <= asking.target).then_some(recorded.queued_p95)
    }

    /// Returns the input of the sizing rules; `share` is the most that the server grants.
    pub(super) fn case(&self, asking: &Asking, share: Option<u32>) -> Case<'a> {
        Case {
            peak: self.peak(asking),
            usual: self.at_rate(self.measured.hour.rate(), asking.times()),
            target: asking.target,
            saturates_at: self.peak.bottleneck().saturates_at,
            share,
            is_served: self.served(asking).is_some(),
            known: (!self.peak.is_understood()).then(|| self.peak.recorded().near()),
            now: (asking.counts.pool_size, asking.counts.max_overflow),
            overflows: asking.overflows,
        }
    }
}
