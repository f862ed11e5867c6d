//! The recommendations as text, each with its numbers.

use super::bottleneck::BottleneckKind;
use super::halved::HalvedHolds;
use super::model::{Model, NotEnoughData, Prediction};
use super::recommendation::Recommendation;
use super::sizes::SizeChange;
use crate::record::traffic::Traffic;
use crate::report::fleet::replicas_text;

/// Shorter waits are shown as 0 ms, in seconds.
const NOTHING: f64 = 5e-5;

/// The interval of a p95 is shown if its ends differ by more than this factor.
const WIDE: f64 = 2.0;

/// The interval of a p95 is shown if its ends differ by more than this, in seconds.
const NOTICED: f64 = 1e-3;

pub(super) fn not_enough(missing: NotEnoughData, hour: &Traffic) -> String {
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

impl Recommendation<'_> {
    pub(super) fn sentences(&self) -> Vec<String> {
        [
            self.overloaded(),
            Some(self.verdict()),
            self.halved.as_ref().and_then(HalvedHolds::sentence),
            self.not_understood(),
            self.no_size_helps(),
            self.saturated(),
            self.capped(),
            self.clients(),
            self.beyond_data(),
            self.asked(),
        ]
        .into_iter()
        .flatten()
        .collect()
    }

    /// Returns the settings to set: `DB_POOL_SIZE=14 DB_MAX_OVERFLOW=4`. An existing pool has no
    /// variables, so this is bb8's builder method.
    pub(super) fn settings(&self) -> String {
        let sizing = &self.sizing;
        match self.asking.overflows {
            true => format!(
                "DB_POOL_SIZE={} DB_MAX_OVERFLOW={}",
                sizing.pool_size, sizing.max_overflow
            ),
            false => format!("max_size({})", sizing.total()),
        }
    }

    fn size_now(&self) -> u32 {
        self.asking.counts.max_connections()
    }

    fn overloaded(&self) -> Option<String> {
        let minute = &self.measured.minute;
        // An overload without long waits is not reported.
        if self.measured.minute_p95 <= self.asking.target {
            return None;
        }
        let prediction = self.now.at(self.size_now());
        let lost = match minute.unserved {
            0 => String::new(),
            lost => format!("; {lost} timed out or were rejected"),
        };
        prediction.p95.is_infinite().then(|| {
            format!(
                "Overloaded now: within the last minute {:.1} checkouts/s arrived, {:.0} % of what {} can serve{lost}.",
                minute.rate(),
                prediction.utilization * 100.0,
                connections(self.size_now()),
            )
        })
    }

    /// Returns the planned load:
    /// `123.6 checkouts/s (103.0 in the busiest five minutes, 20 % headroom), each held 52 ms on average`.
    fn load(&self) -> String {
        let rate = self.recorded.rate;
        let headroom = match self.asking.headroom_pct {
            none if none <= 0.0 => String::new(),
            headroom => format!(", {headroom} % headroom"),
        };
        let asked = match self.asking.what_if.rate {
            None => String::new(),
            Some(times) => format!(", multiplied by {times} as requested"),
        };
        let ended = match self.measured.now - self.recorded.until {
            recent if recent < 60.0 => String::new(),
            seconds if seconds < 5400.0 => format!(", {:.0} min ago", seconds / 60.0),
            seconds => format!(", {:.1} h ago", seconds / 3600.0),
        };
        format!(
            "{:.1} checkouts/s ({rate:.1} in the busiest five minutes{ended}{headroom}{asked}), each held {} on average",
            rate * self.asking.times(),
            millis(self.recorded.held),
        )
    }

    fn verdict(&self) -> String {
        let (sizing, now) = (&self.sizing, self.size_now());
        let (total, target) = (sizing.total(), millis(self.asking.target));
        let (load, set) = (self.load(), self.settings());
        let wait = |size: u32| wait(&self.peak.at(size));
        if let Some(measured) = self.kept_for {
            let did = match measured {
                none if none < NOTHING => "0 ms".to_owned(),
                some => millis(some),
            };
            return format!(
                "Keep the current size: no size is predicted to meet the target of {target} at {load}, but with {} the measured p95 wait was {did}.",
                connections(now),
            );
        }
        match sizing.verdict {
            SizeChange::Stays | SizeChange::Fits => {
                let (what, exactly) = match sizing.verdict {
                    SizeChange::Fits if total != now => (
                        "The pool fits its load",
                        format!("; {total} would be exact"),
                    ),
                    SizeChange::Fits => ("The pool fits its load", String::new()),
                    _ => ("Keep the current size", String::new()),
                };
                format!(
                    "{what}: with {}, {} at {load}; the target is {target}{exactly}.",
                    connections(now),
                    wait(now)
                )
            }
            SizeChange::Split => format!(
                "The total fits the load, but the split does not: the usual load needs {}, and overflow connections are closed at check-in. Set {set}.",
                connections(sizing.pool_size),
            ),
            SizeChange::Shrink => {
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
            SizeChange::Grow => format!(
                "The pool is too small: with {}, {}; with {total}, {}; at {load}; the target is {target}. Set {set}.",
                connections(now),
                wait(now),
                wait(total),
            ),
        }
    }

    fn clients(&self) -> Option<String> {
        let clients = self.recorded.clients?.number;
        Some(format!(
            "The load comes from {clients} clients that each wait for a response before sending the next request, such as workers or a load test. The predictions assume this number of clients, and the headroom adds clients. Callers that do not wait for a response would queue longer."
        ))
    }

    /// Warns if the model cannot explain the load, so that predictions are unreliable.
    fn not_understood(&self) -> Option<String> {
        if self.bottleneck.kind != BottleneckKind::Unknown {
            return None;
        }
        let unwatched = match self.recorded.busy {
            Some(_) => "",
            None => {
                " This pool's queries are not observed: `watch_queries` measures which part of a hold they take."
            }
        };
        Some(format!(
            "Change the size in small steps, and measure: holds take longer when more connections are in use, and neither a lock nor shared processors explain this. The predictions are valid only near the {} that were observed, so no size far from that is recommended.{unwatched}",
            connections(self.recorded.connections),
        ))
    }

    fn beyond_data(&self) -> Option<String> {
        let total = self.sizing.total();
        let beyond = self.peak.at(total).beyond_data;
        let again = match self.sizing.changes() {
            true => "; request a new recommendation once it is set",
            false => "",
        };
        (beyond > 0).then(|| {
            format!("{total} is {beyond} more than the replayed record had in use at once{again}.")
        })
    }

    fn asked(&self) -> Option<String> {
        let size = self.asking.what_if.pool_size?;
        let prediction = self.peak.at(size);
        let beyond = match prediction.beyond_data {
            0 => String::new(),
            beyond => {
                format!(" That is {beyond} more than the replayed record had in use at once.")
            }
        };
        Some(format!(
            "With {}, {} at {}.{beyond}",
            connections(size),
            wait(&prediction),
            self.load(),
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
