//! What to do, in sentences, each with its figures.

use super::bottleneck::{Bottleneck, BottleneckKind};
use super::learned::Learned;
use super::sizes::{Sizing, Verdict, meets, shorter_holds};
use super::{Asking, Found, NotEnoughData};
use crate::advise::Model;
use crate::observe::load::Loads;
use crate::report::fleet::{Fleet, replicas_text};

/// How many places and statements a sentence names.
const NAMED: usize = 3;
/// A place is told to shorten its holds by this share at most: more is no advice.
const SHORTEN: f64 = 0.9;

/// What there is to say something of.
pub(super) struct Said<'a> {
    pub(super) asking: &'a Asking,
    pub(super) found: &'a Found,
    pub(super) loads: &'a Loads,
}

/// `DB_POOL_SIZE=14 DB_MAX_OVERFLOW=4`, where that is another size than the one in force.
pub(super) fn paste(sizing: &Sizing, overflows: bool) -> Option<String> {
    (sizing.verdict != Verdict::Fits).then(|| settings(sizing, overflows))
}

/// An existing pool has no variables, but bb8's builder.
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
        sized: Option<&(&Learned<'_>, Sizing)>,
        missing: Option<NotEnoughData>,
    ) -> Vec<String> {
        let mut sentences = Vec::new();
        if let Some(missing) = missing {
            sentences.push(self.not_enough(missing));
        }
        if let Some((learned, sizing)) = sized {
            let now = self.asking.counts.max_connections();
            sentences.extend(self.overloaded(learned, now));
            sentences.push(self.verdict(learned, sizing, now));
            sentences.extend(self.no_size_helps(learned, sizing));
            sentences.extend(self.saturated(learned, sizing));
            sentences.extend(self.capped(learned, sizing));
            sentences.extend(self.beyond_data(learned, sizing));
            sentences.extend(self.asked(learned));
        }
        sentences.extend(self.found.unreachable.as_ref().map(|why| {
            format!("The server could not be asked, so that its limits are not considered: {why}.")
        }));
        sentences.extend(self.found.accuracy.and_then(|accuracy| accuracy.verdict()));
        sentences
    }

    fn not_enough(&self, missing: NotEnoughData) -> String {
        let hour = &self.loads.hour;
        let more = match (missing.checkouts_more, missing.seconds_more) {
            (0, seconds) => format!("{seconds:.0} s"),
            (checkouts, seconds) if seconds > 0.0 => {
                format!("{checkouts} checkouts and {seconds:.0} s")
            }
            (checkouts, _) => format!("{checkouts} checkouts"),
        };
        format!(
            "Not enough data: {} checkouts came back within {:.0} s; {} within {:.0} s at least are needed for a recommendation: {more} more.",
            hour.held.count,
            hour.seconds,
            Model::CHECKOUTS,
            Model::SECONDS,
        )
    }

    fn overloaded(&self, learned: &Learned<'_>, now: u32) -> Option<String> {
        let minute = &self.loads.minute;
        let prediction = learned.now().at(now.max(1));
        let is_overload = prediction.utilization >= 1.0;
        let lost = match minute.unserved {
            0 => String::new(),
            lost => format!("; {lost} timed out or were turned away"),
        };
        is_overload.then(|| {
            format!(
                "Overloaded now: within the last minute {:.1} checkouts/s arrived, {:.0} % of what {} can serve{lost}.",
                minute.arrival_rate(),
                prediction.utilization * 100.0,
                connections(now),
            )
        })
    }

    /// `at 123.6 checkouts/s (103.0 in the busiest five minutes, + 20 %)`.
    fn load(&self, learned: &Learned<'_>) -> String {
        let rate = learned.busiest_rate();
        let headroom = match self.asking.headroom_pct {
            none if none <= 0.0 => String::new(),
            headroom => format!(", {headroom} % headroom"),
        };
        let asked = match self.asking.what_if.rate {
            None => String::new(),
            Some(times) => format!(", {times} times as many as asked"),
        };
        let ended = match learned.busiest_ended() {
            recent if recent < 60.0 => String::new(),
            seconds if seconds < 5400.0 => format!(", {:.0} min ago", seconds / 60.0),
            seconds => format!(", {:.1} h ago", seconds / 3600.0),
        };
        format!(
            "{:.1} checkouts/s ({rate:.1} in the busiest five minutes{ended}{headroom}{asked}), each held {} on average",
            rate * self.asking.times(),
            millis(learned.held()),
        )
    }

    fn verdict(&self, learned: &Learned<'_>, sizing: &Sizing, now: u32) -> String {
        let demand = learned.peak(self.asking);
        let (total, target) = (sizing.total(), millis(self.asking.target));
        let load = self.load(learned);
        let wait = |size: u32| {
            let prediction = demand.at(size.max(1));
            match prediction.p95.is_finite() {
                true => format!("95 of 100 queue up to {}", millis(prediction.p95)),
                false => format!(
                    "the queue grows without end ({:.0} % utilization)",
                    prediction.utilization * 100.0
                ),
            }
        };
        let set = settings(sizing, self.asking.overflows);
        let is_met = meets(&demand.at(now.max(1)), self.asking.target);
        match sizing.verdict {
            Verdict::Fits if !is_met => format!(
                "The pool stays as it is: with {}, {} at {load}; the target is {target}.",
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
                "The total fits the load, the split does not: the usual load needs {}, and overflow is closed at each check-in. Set {set}.",
                connections(sizing.pool_size),
            ),
            Verdict::Shrink => {
                let why = match (sizing.need, sizing.is_capped()) {
                    (_, true) => "The pool is larger than its share of the server",
                    (None, false) => "The pool is larger than what is of use",
                    (Some(_), false) => "The pool is oversized",
                };
                let fewer = now - total;
                let all = match &self.found.fleet {
                    Some(fleet) if fleet.replicas > 1 => format!(
                        ", {} for all {}",
                        u64::from(fewer) * u64::from(fleet.replicas),
                        replicas_text(fleet.replicas)
                    ),
                    _ => String::new(),
                };
                format!(
                    "{why}: with {} in place of {now}, {} at {load}; the target is {target}. Set {set}: {} fewer that the server must have room for{all}.",
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

    fn no_size_helps(&self, learned: &Learned<'_>, sizing: &Sizing) -> Option<String> {
        if sizing.need.is_some() {
            return None;
        }
        let because = limit(&learned.bottleneck())
            .unwrap_or("more arrives than any pool could serve".to_owned());
        Some(format!(
            "No size meets the target of {}: {because}.{}",
            millis(self.asking.target),
            self.users(),
        ))
    }

    /// Connections beyond what serves more: the pool's queue is short because the other one is long.
    fn saturated(&self, learned: &Learned<'_>, sizing: &Sizing) -> Option<String> {
        let bottleneck = learned.bottleneck();
        let level = bottleneck.falls_beyond.or(bottleneck.saturates_at)?;
        if sizing.need.is_none() || sizing.total() <= level {
            return None;
        }
        Some(format!(
            "But {}: more connections do not shorten the wait, they move it out of the pool's queue.{}",
            limit(&bottleneck)?,
            self.users(),
        ))
    }

    /// Who uses the time.
    fn users(&self) -> String {
        let routes = self.found.routes.iter().take(NAMED);
        let routes: Vec<_> = routes
            .map(|route| format!("{} ({:.0} %)", route.name(), route.share_pct))
            .collect();
        let statements = self.found.statements.iter().take(NAMED);
        let statements: Vec<_> = statements
            .map(|one| {
                format!(
                    "{} ({:.0} %, {:.1} ms each)",
                    one.statement, one.share_pct, one.mean_ms
                )
            })
            .collect();
        let mut users = String::new();
        if !routes.is_empty() {
            users = format!(" Most connection time is used by {}.", routes.join(", "));
        }
        if !statements.is_empty() {
            users = format!(
                "{users} Most query time is used by {}.",
                statements.join(", ")
            );
        }
        users
    }

    fn capped(&self, learned: &Learned<'_>, sizing: &Sizing) -> Option<String> {
        let fleet = self.found.fleet.as_ref().filter(|_| sizing.is_capped())?;
        let need = sizing.need?;
        Some(format!(
            "The load needs {}, and the server can grant {}: {}. Put a pooler such as PgBouncer in between, or raise its max_connections{}",
            connections(need),
            fleet.share,
            granted(fleet),
            self.shorter(learned, sizing.total()),
        ))
    }

    /// What shorter holds would do instead.
    fn shorter(&self, learned: &Learned<'_>, connections: u32) -> String {
        let factor = shorter_holds(learned.peak(self.asking), connections, self.asking.target);
        let Some(factor) = factor.filter(|factor| *factor < 1.0) else {
            return ".".to_owned();
        };
        let shorter = 1.0 - factor;
        let all = format!(
            "; or shorten the holds: {:.0} % shorter on average (now {}) is enough.",
            (shorter * 100.0).ceil(),
            millis(learned.held()),
        );
        let Some(first) = self.found.routes.first() else {
            return all;
        };
        let alone = shorter / (first.share_pct / 100.0);
        let name = first.name();
        if alone <= SHORTEN {
            return format!(
                "{all} {name} uses {:.0} % of the time: {:.0} % shorter holds ({} in place of {}) there alone do it.",
                first.share_pct,
                (alone * 100.0).ceil(),
                millis(first.mean_ms / 1e3 * (1.0 - alone)),
                millis(first.mean_ms / 1e3),
            );
        }
        format!(
            "{all} {name} uses most of the time, {:.0} %.",
            first.share_pct
        )
    }

    fn beyond_data(&self, learned: &Learned<'_>, sizing: &Sizing) -> Option<String> {
        let total = sizing.total();
        let beyond = learned.peak(self.asking).at(total.max(1)).beyond_data;
        (beyond > 0).then(|| {
            format!(
                "{total} is {beyond} beyond what was in use for long enough, so that it rests on the form of the curve: ask again once it is set."
            )
        })
    }

    fn asked(&self, learned: &Learned<'_>) -> Option<String> {
        let size = self.asking.what_if.pool_size?;
        let prediction = learned.peak(self.asking).at(size);
        let load = self.load(learned);
        let beyond = match prediction.beyond_data {
            0 => String::new(),
            beyond => format!(" That is {beyond} beyond what was in use for long enough."),
        };
        Some(match prediction.p95.is_finite() {
            true => format!(
                "With {} 95 of 100 would queue up to {} at {load}.{beyond}",
                connections(size),
                millis(prediction.p95)
            ),
            false => format!(
                "With {} the queue would grow without end ({:.0} % utilization) at {load}.",
                connections(size),
                prediction.utilization * 100.0
            ),
        })
    }
}

/// Up to where connections serve more, and why no further; none where that was not seen.
fn limit(bottleneck: &Bottleneck) -> Option<String> {
    let beyond = match (bottleneck.falls_beyond, bottleneck.saturates_at) {
        (Some(level), _) => format!(
            "beyond {} in use less is served, not more",
            connections(level)
        ),
        (None, Some(level)) => {
            format!(
                "beyond {} in use practically no more is served",
                connections(level)
            )
        }
        (None, None) => return None,
    };
    let why = match bottleneck.kind {
        BottleneckKind::Database => {
            ", for queries take longer: the database saturates, or they wait for each other's locks"
        }
        BottleneckKind::Application => ", for the service itself takes longer between its queries",
        BottleneckKind::Connections | BottleneckKind::Unknown => "",
    };
    Some(beyond + why)
}

fn connections(number: u32) -> String {
    match number {
        1 => "1 connection".to_owned(),
        number => format!("{number} connections"),
    }
}

/// How the share comes about.
fn granted(fleet: &Fleet) -> String {
    let limit = match fleet.user_limit {
        Some(limit) if limit < fleet.server_max_connections => {
            format!("a limit of {limit} for this user or database")
        }
        _ => format!("max_connections {}", fleet.server_max_connections),
    };
    format!(
        "{limit}, reserved {}, used by others {}, shared among {} ({}), one of each for monitoring",
        fleet.reserved,
        fleet.other_connections,
        replicas_text(fleet.replicas),
        fleet.counted,
    )
}

fn millis(seconds: f64) -> String {
    match seconds * 1e3 {
        millis if millis < 10.0 => format!("{millis:.1} ms"),
        millis if millis < 1e4 => format!("{millis:.0} ms"),
        _ => format!("{seconds:.0} s"),
    }
}
