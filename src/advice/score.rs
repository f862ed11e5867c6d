//! The accuracy of predictions: compares each minute with a prediction from the minutes before it.
//!
//! A completed minute is predicted from the record before it, at its size and for its arrivals, and
//! compared with its measurement. The result does not depend on requests for advice. A resized pool is
//! the best test, because its new size was not in the record. A minute is compared only if the score is
//! read before the next minute ends.

use std::collections::VecDeque;

use serde::Serialize;

use super::model::{NotEnoughData, Prediction, Trace, queued_p95};
use super::predicted::finite;
use crate::report::timings::percent;

/// Comparisons are kept for this many minutes.
const KEPT: u64 = 60;
/// A minute is predicted from the record of this many seconds before it.
const LEARNED: f64 = 300.0;
/// Seconds of a minute.
const MINUTE: f64 = 60.0;
/// Minutes with fewer checkouts are skipped: their p95 would depend on a few of them.
const ENOUGH_CHECKOUTS: usize = 100;
/// Waits that differ by less than this count as equal, and shorter waits count as none, in seconds.
const FLOOR: f64 = 0.001;
/// The largest error, as a ratio. Greater errors count as this one.
const WORST: f64 = 10.0;
/// A pool whose connections were in use for this share of a minute was fully loaded.
const FULL: f64 = 0.95;
/// An error above `LARGE_PCT` is reported from this many comparisons on.
const MENTIONED: u32 = 5;
const LARGE_PCT: f64 = 50.0;

/// The errors of the predicted waits over the minutes of the last hour.
///
/// All values are of the p95 of the time queued. Differences below 1 ms and correctly predicted
/// overloads count as no error; the largest error is 1000 %.
#[non_exhaustive]
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Accuracy {
    /// Number of minutes compared.
    pub compared: u32,
    /// Number of minutes not compared: too few checkouts in or before the minute, or a change of size
    /// within it.
    pub skipped: u32,
    /// The median of the absolute errors, in percent of the measured value.
    pub median_error_pct: f64,
    /// Number of compared minutes whose measured or predicted p95 was 1 ms or more.
    pub queueing: u32,
    /// The median of the absolute errors of the minutes in `queueing`, in percent. Waits of a pool
    /// without a queue are easily predicted. `null` if there are no such minutes.
    pub median_error_queueing_pct: Option<f64>,
    /// The median of the same errors with their signs, in percent: above 0, predictions were too long.
    pub bias_pct: Option<f64>,
    /// Number of compared minutes at a size that was not in the record before.
    pub at_new_sizes: u32,
    /// The latest comparison.
    pub last: Comparison,
}

/// The predicted and the measured wait of one minute.
#[non_exhaustive]
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Comparison {
    /// The predicted p95, in milliseconds; `null` for an overload.
    pub predicted_p95_ms: Option<f64>,
    /// The measured p95, in milliseconds; `null` if more than 5 % of the checkouts were rejected or
    /// timed out.
    pub measured_p95_ms: Option<f64>,
    /// Number of connections allowed.
    pub connections: u32,
    /// Number of complete minutes since then.
    pub minutes_ago: u32,
}

/// A comparison in seconds, for computation; infinite for an overload.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Compared {
    predicted: f64,
    measured: f64,
    /// Whether the pool was fully loaded.
    overloaded: bool,
    connections: u32,
    new_size: bool,
}

/// The comparisons of the last hour. Each is made once, after its minute has ended.
#[derive(Debug, Default)]
pub(crate) struct Score {
    /// The minutes by number, the oldest first; `None` for one that could not be compared.
    compared: VecDeque<(u64, Option<Compared>)>,
}

impl Score {
    /// Returns the number of the last minute that was added.
    pub(crate) fn ended(&self) -> u64 {
        self.compared.back().map_or(0, |last| last.0)
    }

    /// Adds the comparison of minute number `ended`, unless it was already added.
    pub(crate) fn add(&mut self, ended: u64, compared: Option<Compared>) {
        if ended > self.ended() {
            self.compared.push_back((ended, compared));
            self.compared.retain(|(minute, _)| minute + KEPT > ended);
        }
    }

    /// Summarizes the comparisons; `None` if there is none.
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
            last: Comparison {
                predicted_p95_ms: finite(last.predicted * 1e3, 2),
                measured_p95_ms: finite(last.measured * 1e3, 2),
                connections: last.connections,
                minutes_ago: (self.ended() - minute) as u32,
            },
        })
    }
}

impl Accuracy {
    /// Returns a warning if the predictions were inaccurate; `None` if they were accurate or if too few
    /// were compared.
    pub(crate) fn verdict(&self) -> Option<String> {
        let error = self
            .median_error_queueing_pct
            .filter(|error| self.queueing >= MENTIONED && *error > LARGE_PCT)?;
        let bias = self.bias_pct.unwrap_or_default();
        let direction = match bias {
            long if long > LARGE_PCT / 2.0 => ", mostly too long",
            short if short < -LARGE_PCT / 2.0 => ", mostly too short",
            _ => "",
        };
        Some(format!(
            "Do not rely on these predictions: in the {} minutes of the last hour in which checkouts queued, the predicted p95 wait was off by {error:.0} % (median){direction}. Change the size in small steps, and measure.",
            self.queueing,
        ))
    }
}

/// Compares the last minute with the prediction of a model of those before it; `None` if the data does
/// not suffice.
pub(super) fn compare<M>(
    trace: &Trace,
    ended: u64,
    learn: impl Fn(&Trace) -> Result<M, NotEnoughData>,
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
    /// Returns the error as a ratio to the measured value; above 0 if the prediction was too long.
    fn error(&self) -> f64 {
        if self.predicted.is_infinite() {
            // The model does not predict how long the queue of an overload grows within a minute.
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
}

/// Returns the median; of an even number of values, the mean of the middle two.
fn median(mut values: Vec<f64>) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    let upper = *values.get(middle)?;
    if values.len() % 2 == 1 {
        return Some(upper);
    }
    Some(f64::midpoint(*values.get(middle - 1)?, upper))
}

#[cfg(test)]
mod tests;
