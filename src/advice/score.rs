//! How good the predictions have been: the last minute against what the minutes before it predict.
//!
//! A minute that has ended is predicted from the record before it, at the size and for the arrivals that
//! it had, and compared with what it measured. Nothing depends on who asked for advice meanwhile. A pool
//! that was resized is the best test, because its new size was not in the record. A minute that ends
//! while nobody reads the score is not compared.

use std::collections::VecDeque;

use serde::Serialize;

use super::model::{Model, NotEnough, Prediction, Trace, queued_p95};

/// Minutes of which the comparisons are kept: those of the last hour.
const KEPT: u64 = 60;
/// A minute is predicted from this many seconds before it.
const LEARNED: f64 = 300.0;
/// Seconds of a minute.
const MINUTE: f64 = 60.0;
/// A p95 of fewer checkouts is one of a handful.
const ENOUGH_CHECKOUTS: usize = 100;
/// Waits this close together are the same to everybody, in seconds; below it nobody waits.
const FLOOR: f64 = 0.001;
/// More than ten times too long is no worse than ten times, as a ratio.
const WORST: f64 = 10.0;
/// A pool whose connections were in use for this share of a minute served all that it can.
const FULL: f64 = 0.95;
/// From this many comparisons on, an error above this share is mentioned.
const MENTIONED: u32 = 5;
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
pub(crate) struct Compared {
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
    /// By the number of the minute, the oldest first; `None` for one that could not be compared.
    compared: VecDeque<(u64, Option<Compared>)>,
    /// Minutes that have ended, as far as this knows.
    ended: u64,
}

impl Score {
    pub(crate) fn ended(&self) -> u64 {
        self.ended
    }

    /// Adds the minute that has ended last, unless it is there already: `ended` have.
    pub(crate) fn add(&mut self, ended: u64, compared: Option<Compared>) {
        if ended <= self.ended {
            return;
        }
        self.ended = ended;
        self.compared.push_back((ended, compared));
        while self
            .compared
            .front()
            .is_some_and(|(minute, _)| minute + KEPT <= ended)
        {
            self.compared.pop_front();
        }
    }

    /// What they come down to; `None` if there is none.
    pub(crate) fn accuracy(&self) -> Option<Accuracy> {
        let known = self.compared.iter();
        let mut known = known.filter_map(|(minute, it)| Some((*minute, it.as_ref()?)));
        let compared: Vec<&Compared> = known.clone().map(|(_, it)| it).collect();
        let (minute, last) = known.next_back()?;
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
            last: last.report((self.ended - minute) as u32),
        })
    }
}

impl Accuracy {
    /// What to say of an advice whose predecessors were wrong; nothing of one that can be relied on,
    /// or of which too little is known.
    pub(crate) fn verdict(&self) -> Option<String> {
        let error = self
            .median_error_queueing_pct
            .filter(|error| self.queueing >= MENTIONED && *error > LARGE_PCT)?;
        let bias = self.bias_pct.unwrap_or_default();
        let direction = if bias > LARGE_PCT / 2.0 {
            ", mostly too long"
        } else if bias < -LARGE_PCT / 2.0 {
            ", mostly too short"
        } else {
            ""
        };
        Some(format!(
            "Do not rely on these predictions: in the {} minutes of the last hour in which checkouts queued, the predicted p95 wait was off by {error:.0} % (median){direction}. Change the size in small steps, and measure.",
            self.queueing,
        ))
    }
}

impl Compared {
    /// The last of these minutes against what those before it say, if both are enough.
    pub(crate) fn of(trace: &Trace, ended: u64) -> Option<Self> {
        compare(trace, ended, Model::learn, Model::at)
    }
}

/// The same by any model.
fn compare<M>(
    trace: &Trace,
    ended: u64,
    learn: impl Fn(&Trace) -> Result<M, NotEnough>,
    at: impl Fn(&M, u32, f64) -> Prediction,
) -> Option<Compared> {
    let end = ended as f64 * MINUTE;
    let minute = trace.between(end - MINUTE, end);
    let before = trace.between(end - MINUTE - LEARNED, end - MINUTE);
    let connections = minute.checkouts.first()?.size;
    let is_same = minute.checkouts.iter().all(|it| it.size == connections);
    if minute.checkouts.len() < ENOUGH_CHECKOUTS || connections == 0 || !is_same {
        return None;
    }
    let model = learn(&before).ok()?;
    let (measured, demand) = (queued_p95(&minute.checkouts), minute.rate() / before.rate());
    let predicted = at(&model, connections.into(), demand).p95;
    if predicted.is_nan() {
        return None;
    }
    let capacity = f64::from(connections) * minute.recorded_seconds();
    Some(Compared {
        predicted,
        measured,
        overloaded: measured.is_infinite() || minute.held() > FULL * capacity,
        connections: connections.into(),
        new_size: before.checkouts.iter().all(|it| it.size != connections),
    })
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

    fn report(&self, minutes_ago: u32) -> Comparison {
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
