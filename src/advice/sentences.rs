//! The recommendations as text, each with its numbers.

use super::bottleneck::Bottleneck;
use super::learned::{Measured, Models};
use super::model::{Model, Prediction};
use super::sizes::{Sizing, Verdict};
use super::{Asking, Found, NotEnoughData};
use crate::report::fleet::replicas_text;

/// Shorter waits are shown as 0 ms, in seconds.
const NOTHING: f64 = 5e-5;

/// The interval of a p95 is shown if its ends differ by more than this factor.
const WIDE: f64 = 2.0;

/// The interval of a p95 is shown if its ends differ by more than this, in seconds.
const NOTICED: f64 = 1e-3;

/// The input of the recommendations.
pub(super) struct Said<'a> {
    pub(super) asking: &'a Asking,
    pub(super) found: &'a Found,
    pub(super) measured: &'a Measured,
}

/// Returns the configuration snippet, `DB_POOL_SIZE=14 DB_MAX_OVERFLOW=4`; `None` if the size in
/// force is kept.
pub(super) fn paste(sizing: &Sizing, overflows: bool) -> Option<String> {
    changes(sizing).then(|| settings(sizing, overflows))
}

fn changes(sizing: &Sizing) -> bool {
    !matches!(sizing.verdict, Verdict::Fits | Verdict::Stays)
}

/// Returns the settings as text. An existing pool has no variables, so this is bb8's builder method.
fn settings(sizing: &Sizing, overflows: bool) -> String {
    match overflows {
        true => format!(
            "DB_POOL_SIZE={} DB_MAX_OVERFLOW={}",
            sizing.pool_size, sizing.max_overflow
        ),
        false => format!("max_size({})", sizing.total()),
    }
}

impl Said<'_> {
    pub(super) fn sentences(
        &self,
        sized: Option<&(Models<'_>, Sizing, Bottleneck)>,
        missing: Option<NotEnoughData>,
    ) -> Vec<String> {
        let mut sentences = Vec::new();
        if let Some(missing) = missing {
            sentences.push(self.not_enough(missing));
        }
        if let Some((models, sizing, bottleneck)) = sized {
            let now = self.asking.counts.max_connections();
            sentences.extend(self.overloaded(models, now));
            sentences.push(self.verdict(models, sizing, now));
            sentences.extend(self.not_understood(models));
            sentences.extend(self.no_size_helps(models, sizing, bottleneck));
            sentences.extend(self.saturated(sizing, bottleneck));
            sentences.extend(self.capped(models, sizing));
            sentences.extend(Self::clients(models));
            sentences.extend(self.beyond_data(models, sizing));
            sentences.extend(self.asked(models));
        }
        sentences.extend(self.found.unreachable.as_ref().map(|why| {
            format!("The server could not be queried, so its limits are not considered: {why}.")
        }));
        sentences.extend(self.found.accuracy.and_then(|accuracy| accuracy.verdict()));
        sentences
    }

    fn not_enough(&self, missing: NotEnoughData) -> String {
        let hour = &self.measured.hour;
        let more = match (missing.checkouts_more, missing.seconds_more) {
            (0, seconds) => format!("{seconds:.0} s"),
            (checkouts, seconds) if seconds > 0.0 => {
                format!("{checkouts} checkouts and {seconds:.0} s")
            }
            (checkouts, _) => format!("{checkouts} checkouts"),
        };
        format!(
            "Not enough data: {} checkouts completed within {:.0} s; a recommendation needs at least {} within {:.0} s: {more} more.",
            hour.returned,
            hour.observed().as_secs_f64(),
            Model::CHECKOUTS,
            Model::SECONDS,
        )
    }

    fn overloaded(&self, models: &Models<'_>, now: u32) -> Option<String> {
        let minute = &self.measured.minute;
        // An overload without long waits is not reported.
        if self.measured.minute_p95 <= self.asking.target {
            return None;
        }
        let prediction = models.now().at(now.max(1));
        let lost = match minute.unserved {
            0 => String::new(),
            lost => format!("; {lost} timed out or were rejected"),
        };
        prediction.p95.is_infinite().then(|| {
            format!(
                "Overloaded now: within the last minute {:.1} checkouts/s arrived, {:.0} % of what {} can serve{lost}.",
                minute.rate(),
                prediction.utilization * 100.0,
                connections(now),
            )
        })
    }

    /// Returns the planned load:
    /// `123.6 checkouts/s (103.0 in the busiest five minutes, 20 % headroom), each held 52 ms on average`.
    fn load(&self, models: &Models<'_>) -> String {
        let rate = models.busiest_rate();
        let headroom = match self.asking.headroom_pct {
            none if none <= 0.0 => String::new(),
            headroom => format!(", {headroom} % headroom"),
        };
        let asked = match self.asking.what_if.rate {
            None => String::new(),
            Some(times) => format!(", multiplied by {times} as requested"),
        };
        let ended = match models.ended() {
            recent if recent < 60.0 => String::new(),
            seconds if seconds < 5400.0 => format!(", {:.0} min ago", seconds / 60.0),
            seconds => format!(", {:.1} h ago", seconds / 3600.0),
        };
        format!(
            "{:.1} checkouts/s ({rate:.1} in the busiest five minutes{ended}{headroom}{asked}), each held {} on average",
            rate * self.asking.times(),
            millis(models.held()),
        )
    }

    fn verdict(&self, models: &Models<'_>, sizing: &Sizing, now: u32) -> String {
        let demand = models.peak(self.asking);
        let (total, target) = (sizing.total(), millis(self.asking.target));
        let load = self.load(models);
        let wait = |size: u32| wait(&demand.at(size.max(1)));
        if let Some(measured) = self.measured(models, sizing) {
            let did = match measured {
                none if none < NOTHING => "0 ms".to_owned(),
                some => millis(some),
            };
            return format!(
                "Keep the current size: no size is predicted to meet the target of {target} at {load}, but with {} the measured p95 wait was {did}.",
                connections(now),
            );
        }
        let set = settings(sizing, self.asking.overflows);
        match sizing.verdict {
            Verdict::Stays => format!(
                "Keep the current size: with {}, {} at {load}; the target is {target}.",
                connections(now),
                wait(now)
            ),
            Verdict::Fits => {
                let exactly = match total == now {
                    true => String::new(),
                    false => format!("; {total} would be exact"),
                };
                format!(
                    "The pool fits its load: with {}, {} at {load}; the target is {target}{exactly}.",
                    connections(now),
                    wait(now)
                )
            }
            Verdict::Split => format!(
                "The total fits the load, but the split does not: the usual load needs {}, and overflow connections are closed at check-in. Set {set}.",
                connections(sizing.pool_size),
            ),
            Verdict::Shrink => {
                let why = match (sizing.need, sizing.is_capped()) {
                    (_, true) => "The pool is larger than its share of the server's connections",
                    (None, false) => "The pool is larger than is useful",
                    (Some(_), false) => "The pool is oversized",
                };
                let fewer = now - total;
                let all = match &self.found.fleet {
                    Some(fleet) if fleet.replicas > 1 => format!(
                        ", {} across all {}",
                        u64::from(fewer) * u64::from(fleet.replicas),
                        replicas_text(fleet.replicas)
                    ),
                    _ => String::new(),
                };
                format!(
                    "{why}: with {} instead of {now}, {} at {load}; the target is {target}. Set {set}: this frees {} on the server{all}.",
                    connections(total),
                    wait(total),
                    connections(fewer),
                )
            }
            Verdict::Grow => format!(
                "The pool is too small: with {}, {}; with {total}, {}; at {load}; the target is {target}. Set {set}.",
                connections(now),
                wait(now),
                wait(total),
            ),
        }
    }

    /// Returns the measured p95 wait at the size in force, in seconds, if it was within the target and
    /// no size is predicted to be.
    pub(super) fn measured(&self, models: &Models<'_>, sizing: &Sizing) -> Option<f64> {
        let stays = sizing.need.is_none() && sizing.verdict == Verdict::Stays;
        models.served(self.asking).filter(|_| stays)
    }

    fn clients(models: &Models<'_>) -> Option<String> {
        let clients = models.peak.clients()?;
        Some(format!(
            "The load comes from {clients} clients that each wait for a response before sending the next request, such as workers or a load test. The predictions assume this number of clients, and the headroom adds clients. Callers that do not wait for a response would queue longer."
        ))
    }

    /// Warns if the model cannot explain the load, so that predictions are unreliable.
    fn not_understood(&self, models: &Models<'_>) -> Option<String> {
        if models.peak.is_understood() {
            return None;
        }
        let recorded = models.peak.recorded();
        let unwatched = match recorded.busy {
            Some(_) => "",
            None => {
                " This pool's queries are not observed: `watch_queries` measures which part of a hold they take."
            }
        };
        Some(format!(
            "Change the size in small steps, and measure: holds take longer when more connections are in use, and neither a lock nor shared processors explain this. The predictions are valid only near the {} that were observed, so no size far from that is recommended.{unwatched}",
            connections(recorded.connections),
        ))
    }

    fn beyond_data(&self, models: &Models<'_>, sizing: &Sizing) -> Option<String> {
        let total = sizing.total();
        let beyond = models.peak(self.asking).at(total.max(1)).beyond_data;
        let again = match changes(sizing) {
            true => "; request a new recommendation once it is set",
            false => "",
        };
        (beyond > 0).then(|| {
            format!("{total} is {beyond} more than the replayed record had in use at once{again}.")
        })
    }

    fn asked(&self, models: &Models<'_>) -> Option<String> {
        let size = self.asking.what_if.pool_size?;
        let prediction = models.peak(self.asking).at(size);
        let load = self.load(models);
        let beyond = match prediction.beyond_data {
            0 => String::new(),
            beyond => {
                format!(" That is {beyond} more than the replayed record had in use at once.")
            }
        };
        Some(format!(
            "With {}, {} at {load}.{beyond}",
            connections(size),
            wait(&prediction),
        ))
    }
}

fn wait(prediction: &Prediction) -> String {
    match prediction.p95 {
        none if none < NOTHING => "the p95 wait is 0 ms".to_owned(),
        p95 if p95.is_finite() => {
            let (least, most) = prediction.p95_range;
            let range = match most > WIDE * least.max(NOTHING) && most - least > NOTICED {
                true => format!(" (80 % interval: {} to {})", millis(least), millis(most)),
                false => String::new(),
            };
            format!("the p95 wait is {}{range}", millis(p95))
        }
        _ => format!(
            "the queue grows without bound ({:.0} % utilization)",
            prediction.utilization * 100.0
        ),
    }
}

pub(super) fn connections(number: u32) -> String {
    match number {
        1 => "1 connection".to_owned(),
        number => format!("{number} connections"),
    }
}

pub(super) fn millis(seconds: f64) -> String {
    match seconds * 1e3 {
        millis if millis < 10.0 => format!("{millis:.1} ms"),
        millis if millis < 1e4 => format!("{millis:.0} ms"),
        _ => format!("{seconds:.0} s"),
    }
}
