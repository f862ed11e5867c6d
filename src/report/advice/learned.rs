//! The models that an advice is given by: of the busiest load, and of the usual one.

use super::Asking;
use super::bottleneck::Bottleneck;
use super::evidence::CurvePoint;
use super::sizes::{Case, Demand};
use crate::advise::{Model, NotEnough, Prediction};
use crate::observe::load::{Load, Loads};

/// What a model of a load can tell.
pub(super) trait Forecast {
    /// The waiting with so many connections, were there so many times the arrivals.
    fn at(&self, connections: u32, times: f64) -> Prediction;

    /// Completions a second with so many in use.
    fn rate(&self, connections: u32) -> Option<f64>;

    fn bottleneck(&self) -> Bottleneck;

    /// How many ask, where each waits for its answer before it asks again.
    fn clients(&self) -> Option<u32> {
        None
    }
}

/// How a load becomes a forecast.
pub(super) type Learn = fn(&Load) -> Result<Box<dyn Forecast>, NotEnough>;

pub(super) fn learn(load: &Load) -> Result<Box<dyn Forecast>, NotEnough> {
    Ok(Box::new(Model::learn(load)?))
}

impl Forecast for Model {
    fn at(&self, connections: u32, times: f64) -> Prediction {
        Self::at(self, connections, times)
    }

    fn rate(&self, connections: u32) -> Option<f64> {
        Some(self.curve().rate(connections))
    }

    fn bottleneck(&self) -> Bottleneck {
        Self::bottleneck(self).into()
    }

    fn clients(&self) -> Option<u32> {
        Self::clients(self)
    }
}

/// A window whose load was learned.
struct Window<'a> {
    name: &'static str,
    load: &'a Load,
    forecast: Box<dyn Forecast>,
}

/// What was learned of the loads.
pub(super) struct Learned<'a> {
    loads: &'a Loads,
    busiest: Window<'a>,
    /// `None`: the busiest load's model has to do.
    usual: Option<Window<'a>>,
}

impl<'a> Learned<'a> {
    /// Of the busiest window, if it has enough: a quiet service may have enough in an hour only.
    pub(super) fn of(loads: &'a Loads, learn: Learn) -> Result<Self, NotEnough> {
        let window = |name, load: &'a Load| {
            learn(load).map(|forecast| Window {
                name,
                load,
                forecast,
            })
        };
        let hour = || window("hour", &loads.hour);
        let five_minutes = || window("five_minutes", &loads.five_minutes);
        let nearest = |one: NotEnough, other: NotEnough| {
            let key = |missing: &NotEnough| (missing.checkouts, missing.seconds);
            if key(&other) < key(&one) { other } else { one }
        };
        let busiest = window("busiest", &loads.busiest)
            .or_else(|missing| hour().map_err(|other| nearest(missing, other)))
            .or_else(|missing| five_minutes().map_err(|other| nearest(missing, other)))?;
        let usual = hour().or_else(|_| five_minutes()).ok();
        Ok(Self {
            loads,
            busiest,
            usual,
        })
    }

    /// Whether its own load is the one that was learned, or that of a longer window.
    pub(super) fn learned_from(&self) -> &'static str {
        self.busiest.name
    }

    pub(super) fn usual_from(&self) -> &'static str {
        self.usual.as_ref().map_or("hour", |usual| usual.name)
    }

    /// Arrivals a second in the busiest window.
    pub(super) fn busiest_rate(&self) -> f64 {
        let learned = self.busiest.load.arrival_rate();
        // A short window of one that is young may have more than the longer one, or nothing at all.
        self.loads.busiest.arrival_rate().max(learned)
    }

    /// Mean time held, in seconds, in the load that was learned.
    pub(super) fn held(&self) -> f64 {
        self.busiest.load.held.mean().unwrap_or_default()
    }

    /// When the busiest window ended, in seconds before now.
    pub(super) fn busiest_ended(&self) -> f64 {
        self.loads.busiest_ended
    }

    /// What is to be ready for at most.
    pub(super) fn peak(&self, asking: &Asking) -> Demand<'_> {
        self.busiest.demand(self.busiest_rate() * asking.times())
    }

    /// What arrives now.
    pub(super) fn now(&self) -> Demand<'_> {
        self.busiest.demand(self.loads.minute.arrival_rate())
    }

    /// The wait that 95 of 100 did not exceed, in seconds, when the load was learned: if it was within
    /// the target, at the size in force.
    pub(super) fn served(&self, asking: &Asking) -> Option<f64> {
        let Load { limit, .. } = self.busiest.load;
        limit.filter(|limit| *limit == asking.counts.max_connections())?;
        let p95 = self.busiest.load.queued_p95()?;
        (p95 <= asking.target).then_some(p95)
    }

    pub(super) fn case(&self, asking: &Asking, share: Option<u32>) -> Case<'_> {
        let usual = match &self.usual {
            Some(usual) => usual.demand(usual.load.arrival_rate() * asking.times()),
            None => self
                .busiest
                .demand(self.loads.hour.arrival_rate() * asking.times()),
        };
        let bottleneck = self.bottleneck();
        Case {
            peak: self.peak(asking),
            usual,
            target: asking.target,
            falls_beyond: bottleneck.falls_beyond,
            saturates_at: bottleneck.saturates_at,
            share,
            is_served: self.served(asking).is_some(),
            now: (asking.counts.pool_size, asking.counts.max_overflow),
            overflows: asking.overflows,
        }
    }

    pub(super) fn bottleneck(&self) -> Bottleneck {
        self.busiest.forecast.bottleneck()
    }

    /// How many ask, where each waits for its answer before it asks again.
    pub(super) fn clients(&self) -> Option<u32> {
        self.busiest.forecast.clients()
    }

    pub(super) fn curve(&self) -> Vec<CurvePoint> {
        let forecast = &self.busiest.forecast;
        CurvePoint::curve(self.busiest.load, |connections| forecast.rate(connections))
    }
}

impl Window<'_> {
    /// So many arrivals a second.
    fn demand(&self, rate: f64) -> Demand<'_> {
        Demand {
            forecast: &*self.forecast,
            times: rate / self.load.arrival_rate(),
        }
    }
}
