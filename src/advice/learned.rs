//! The models that an advice is given by: of the recent load, and of the busiest.

use std::sync::Arc;

use super::Asking;
use super::bottleneck::Bottleneck;
use super::model::{Model, NotEnough, Prediction, Recorded};
use super::sizes::{Case, Demand};
use crate::observe::hour::Traffic;

/// A model of a load that was recorded.
pub(super) trait Forecast: Send + Sync {
    /// The waits with this many connections, under this many times the load.
    fn at(&self, connections: u32, times: f64) -> Prediction;

    /// What was measured in the record.
    fn recorded(&self) -> Recorded;

    fn bottleneck(&self) -> Bottleneck;

    /// Checkouts a second by this many clients who ask again at once, on a connection each.
    fn throughput(&self, connections: u32) -> f64;

    /// Whether what others do to a hold is explained, so that other sizes can be predicted.
    fn is_understood(&self) -> bool {
        true
    }

    /// How many clients there are, where each waits for its answer before it asks again.
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

/// What was asked for, by window.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(super) struct Measured {
    pub(super) minute: Traffic,
    pub(super) five_minutes: Traffic,
    pub(super) hour: Traffic,
    /// The time queued that 95 of 100 did not exceed within the last minute, in seconds.
    pub(super) minute_p95: f64,
    /// When this was read, in seconds of the pool's clock.
    pub(super) now: f64,
}

/// What was learned of the load.
#[derive(Clone)]
pub(super) struct Learned {
    pub(super) measured: Measured,
    /// Of the recent checkouts.
    pub(super) recent: Result<Arc<dyn Forecast>, NotEnough>,
    /// Of the busiest window of the day, if it was busier.
    pub(super) busiest: Option<Arc<dyn Forecast>>,
}

impl Learned {
    /// The models, if there is one at least.
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

/// What there is to predict by.
#[derive(Clone, Copy)]
pub(super) struct Models<'a> {
    pub(super) measured: &'a Measured,
    /// Which window `peak` is of.
    pub(super) window: &'static str,
    /// The busiest load that is known, and the recent one.
    pub(super) peak: &'a dyn Forecast,
    pub(super) usual: &'a dyn Forecast,
}

impl<'a> Models<'a> {
    /// Arrivals a second in the busiest load.
    pub(super) fn busiest_rate(&self) -> f64 {
        self.peak.recorded().rate
    }

    /// Mean time held, in seconds, in the busiest load.
    pub(super) fn held(&self) -> f64 {
        self.peak.recorded().held
    }

    /// When the busiest load ended, in seconds before now.
    pub(super) fn ended(&self) -> f64 {
        (self.measured.now - self.peak.recorded().until).max(0.0)
    }

    /// The most that is to be ready for.
    pub(super) fn peak(&self, asking: &Asking) -> Demand<'a> {
        Demand {
            forecast: self.peak,
            times: asking.times(),
        }
    }

    /// What arrives now.
    pub(super) fn now(&self) -> Demand<'a> {
        self.at_rate(self.measured.minute.rate(), 1.0)
    }

    fn at_rate(&self, rate: f64, times: f64) -> Demand<'a> {
        Demand {
            forecast: self.usual,
            times: times * rate / self.usual.recorded().rate,
        }
    }

    /// The wait that 95 of 100 did not exceed, in seconds, when the load was recorded: if it was within
    /// the target, at the size in force.
    pub(super) fn served(&self, asking: &Asking) -> Option<f64> {
        let recorded = self.peak.recorded();
        let is_same = recorded.connections == asking.counts.max_connections();
        (is_same && recorded.queued_p95 <= asking.target).then_some(recorded.queued_p95)
    }

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
