//! How good the predictions have been: each minute against what was predicted from those before it.
//!
//! There is no list of predictions made, which could lose some or flatter. Each minute that has
//! ended is predicted from its predecessors, at the size and for the arrivals that it had, and
//! compared with what it measured. A pool that was resized is the best test: its new size was not
//! in the data.

use std::collections::VecDeque;
use std::sync::Arc;

use serde::Serialize;

use super::model::{Model, Prediction};
use crate::observe::load::Load;

/// Minutes of which the comparisons are kept: those of the last hour.
const KEPT: usize = 60;
/// A minute is predicted from so many before it.
const LEARNED: usize = 5;
/// A p95 of fewer checkouts is one of a handful.
const ENOUGH_CHECKOUTS: u64 = 100;
/// Waits this close together are the same to everybody, in seconds; below it nobody waits.
const FLOOR: f64 = 0.001;
/// More than ten times too long is no worse than ten times, as a ratio.
const WORST: f64 = 10.0;
/// A pool that was full for so much of a minute had as much as it can serve.
const FULL: f64 = 0.95;
/// From so many comparisons on, an error above this share is told.
const TELLING: u32 = 5;
const LARGE_PCT: f64 = 50.0;

/// How far the predicted waits were from the measured ones, over the minutes of the last hour.
///
/// All are of the time queued that 95 of 100 checkouts do not exceed. Differences below 1 ms are no
/// error; an error is at most 1000 %; an overload that was predicted is none.
#[non_exhaustive]
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Accuracy {
    /// Minutes that were compared.
    pub compared: u32,
    /// Minutes that were not: too few checkouts in it or before it, or the size changed within it.
    pub skipped: u32,
    /// The median of the errors, without their signs, in percent of what was measured.
    pub median_error_pct: f64,
    /// Of the minutes compared, those in which 5 of 100 queued for 1 ms or more, or should have.
    pub queueing: u32,
    /// The median of their errors: a pool that nobody waits for is easily predicted. `null` if there
    /// are none.
    pub median_error_queueing_pct: Option<f64>,
    /// The median of the same errors with their signs: above 0, what was predicted was too long.
    pub bias_pct: Option<f64>,
    /// Of the minutes compared, those at a size that none of the minutes before had.
    pub at_new_sizes: u32,
    /// The latest one compared.
    pub last: Comparison,
}

/// One minute, predicted and measured.
#[non_exhaustive]
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Comparison {
    /// What was predicted, in milliseconds; `null` for an overload.
    pub predicted_p95_ms: Option<f64>,
    /// What was measured, in milliseconds; `null` where more than 5 of 100 were turned away.
    pub measured_p95_ms: Option<f64>,
    /// Connections allowed.
    pub connections: u32,
    /// Complete minutes since.
    pub minutes_ago: u32,
}

/// The same, as it is computed with: in seconds, an overload infinite.
#[derive(Debug, Clone, Copy)]
struct Compared {
    predicted: f64,
    measured: f64,
    /// The pool had as much to do as it can.
    overloaded: bool,
    connections: u32,
    new_size: bool,
}

/// The comparisons of the last hour. Each is made once, when its minute has ended.
#[derive(Debug, Default)]
pub(crate) struct Score {
    /// Of each minute, the oldest first; `None` of one that could not be compared.
    compared: VecDeque<Option<Compared>>,
    /// Minutes that have ended, as far as this knows.
    ended: u64,
}

impl Score {
    pub(crate) fn ended(&self) -> u64 {
        self.ended
    }

    /// Compares what has ended since: `ended` minutes have, of which these are the latest, the oldest
    /// first.
    pub(crate) fn update(&mut self, minutes: &[Arc<Load>], ended: u64) {
        self.update_by(minutes, ended, |before| {
            let mut load = Load::default();
            before.iter().for_each(|minute| load.merge(minute));
            let model = Model::learn(&load).ok()?;
            Some(move |connections, demand| model.at(connections, demand))
        });
    }

    /// The same by another model. `learn` makes a predictor of some minutes, if they are
    /// enough: of a number of connections, and of how many times as many arrivals there are.
    fn update_by<P>(
        &mut self,
        minutes: &[Arc<Load>],
        ended: u64,
        learn: impl Fn(&[Arc<Load>]) -> Option<P>,
    ) where
        P: Fn(u32, f64) -> Prediction,
    {
        let new = ended.saturating_sub(self.ended).min(minutes.len() as u64) as usize;
        for at in minutes.len() - new..minutes.len() {
            if self.compared.len() == KEPT {
                self.compared.pop_front();
            }
            self.compared.push_back(compare(minutes, at, &learn));
        }
        self.ended = self.ended.max(ended);
    }

    /// What they come down to; `None` if there is none.
    pub(crate) fn accuracy(&self) -> Option<Accuracy> {
        let compared: Vec<&Compared> = self.compared.iter().flatten().collect();
        let last = compared.last()?;
        let since = self.compared.iter().rev().take_while(|it| it.is_none());
        let errors: Vec<f64> = compared.iter().map(|minute| minute.error()).collect();
        let queueing = compared.iter().filter(|minute| minute.is_queueing());
        let signed: Vec<f64> = queueing.map(|minute| minute.error()).collect();
        let absolute = |errors: &[f64]| errors.iter().map(|error| error.abs()).collect();
        Some(Accuracy {
            compared: compared.len() as u32,
            skipped: (self.compared.len() - compared.len()) as u32,
            median_error_pct: percent(median(absolute(&errors))?),
            queueing: signed.len() as u32,
            median_error_queueing_pct: median(absolute(&signed)).map(percent),
            at_new_sizes: compared.iter().filter(|minute| minute.new_size).count() as u32,
            bias_pct: median(signed).map(percent),
            last: last.told(since.count() as u32),
        })
    }
}

impl Accuracy {
    /// What to say of an advice whose predecessors were wrong; nothing of one that can be relied on,
    /// or of which too little is known.
    pub(crate) fn verdict(&self) -> Option<String> {
        let error = self
            .median_error_queueing_pct
            .filter(|error| self.queueing >= TELLING && *error > LARGE_PCT)?;
        let bias = self.bias_pct.unwrap_or_default();
        let direction = if bias > LARGE_PCT / 2.0 {
            ", mostly too long"
        } else if bias < -LARGE_PCT / 2.0 {
            ", mostly too short"
        } else {
            ""
        };
        Some(format!(
            "Do not rely on these predictions: in the {} minutes of the last hour in which checkouts queued, the p95 wait predicted was off by {error:.0} % (median){direction}. Change the size in small steps, and measure.",
            self.queueing,
        ))
    }
}

/// One minute against what the ones before it say, if both are enough.
fn compare<P>(
    minutes: &[Arc<Load>],
    at: usize,
    learn: &impl Fn(&[Arc<Load>]) -> Option<P>,
) -> Option<Compared>
where
    P: Fn(u32, f64) -> Prediction,
{
    let minute = minutes.get(at)?;
    let before = minutes.get(at.saturating_sub(LEARNED)..at)?;
    let connections = minute.limit.filter(|limit| *limit > 0)?;
    if minute.arrivals < ENOUGH_CHECKOUTS || minute.queued.count() == 0 {
        return None;
    }
    let (arrivals, seconds) = before.iter().fold((0, 0.0), |(arrivals, seconds), load| {
        (arrivals + load.arrivals, seconds + load.seconds)
    });
    let demand = minute.arrival_rate() * seconds / arrivals as f64;
    if !(demand.is_finite() && demand > 0.0) {
        return None;
    }
    let predicted = learn(before)?(connections, demand).p95;
    let measured = minute.queued_p95()?;
    (predicted >= 0.0).then(|| Compared {
        predicted,
        measured,
        overloaded: measured.is_infinite() || time_full(minute, connections) > FULL,
        connections,
        new_size: before.iter().all(|load| load.limit != Some(connections)),
    })
}

/// The share of the time in which every connection was in use.
fn time_full(minute: &Load, connections: u32) -> f64 {
    let full = Load::index_of(connections);
    let seconds: f64 = minute.levels.iter().skip(full).map(|at| at.seconds).sum();
    seconds / minute.seconds
}

impl Compared {
    /// Above 0 if the prediction was too long, as a share of what was measured.
    fn error(&self) -> f64 {
        if self.predicted.is_infinite() {
            // How long the queue of an overload gets within a minute is nothing the model says.
            return if self.overloaded { 0.0 } else { WORST };
        }
        if self.measured.is_infinite() {
            return -1.0;
        }
        let difference = self.predicted - self.measured;
        if difference.abs() < FLOOR {
            return 0.0;
        }
        (difference / self.measured.max(FLOOR)).clamp(-WORST, WORST)
    }

    fn is_queueing(&self) -> bool {
        self.predicted >= FLOOR || self.measured >= FLOOR
    }

    fn told(&self, minutes_ago: u32) -> Comparison {
        let millis = |seconds: f64| seconds.is_finite().then(|| round(seconds * 1e3, 100.0));
        Comparison {
            predicted_p95_ms: millis(self.predicted),
            measured_p95_ms: millis(self.measured),
            connections: self.connections,
            minutes_ago,
        }
    }
}

/// The middle one; of two the mean.
fn median(mut values: Vec<f64>) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    let upper = *values.get(middle)?;
    if values.len() % 2 == 1 {
        return Some(upper);
    }
    Some(f64::midpoint(*values.get(middle - 1)?, upper))
}

fn percent(ratio: f64) -> f64 {
    round(ratio * 100.0, 10.0)
}

fn round(value: f64, parts: f64) -> f64 {
    (value * parts).round() / parts
}

#[cfg(test)]
mod tests;
