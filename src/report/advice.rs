//! `optimize`: which size the load of the last minutes needs, by Little's law.

use std::time::Duration;

use serde::Serialize;

use super::connections::count;
use super::grant::{Grant, grant};
use super::source::{Configuration, Source};
use super::timings::round;
use crate::backend::Lane;
use crate::inventory::Counts;
use crate::observe::Observe;
use crate::observe::window::{Slot, Span};

/// Less than this says nothing about a load.
const ENOUGH_TIME: Duration = Duration::from_secs(20);
const ENOUGH_CHECKOUTS: u64 = 100;
/// Room above what was measured.
const HEADROOM: f64 = 1.25;

/// What to set, and why. The seed system's `optimize_pool_settings`.
#[non_exhaustive]
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Optimization {
    /// The settings in force.
    pub current_settings: Configuration,
    /// The pool at this instant.
    pub current_usage: CurrentUsage,
    /// The pool size that the measured load needs; `null` without enough data.
    pub recommended_pool_size: Option<u32>,
    /// The overflow that its peaks need; `null` without enough data.
    pub recommended_max_overflow: Option<u32>,
    /// What to do, in sentences, with lines to paste.
    pub recommendations: Vec<String>,
    /// What the recommendation rests on.
    pub evidence: Evidence,
}

/// The pool at this instant, in the seed system's words.
#[non_exhaustive]
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct CurrentUsage {
    /// Open connections.
    pub total_connections: u32,
    /// Connections handed out.
    pub active_connections: u32,
    /// Open connections that nobody holds.
    pub idle_connections: u32,
    /// Connections in use of all the pool may open, in percent.
    pub pool_utilization_pct: f64,
}

/// The measurements behind a recommendation.
#[non_exhaustive]
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Evidence {
    /// Time observed, in seconds; at most five minutes.
    pub window_seconds: f64,
    /// Checkouts that came back within it.
    pub samples: u64,
    /// Checkouts asked for per second.
    pub arrivals_per_second: f64,
    /// Most of them within one second.
    pub peak_arrivals_per_second: f64,
    /// How long a connection is held, in milliseconds.
    pub mean_use_ms: Option<f64>,
    /// Little's law: arrivals per second times use time, in connections.
    /// `null` before one has come back.
    pub mean_connections_needed: Option<f64>,
    /// The same for the busiest second.
    pub peak_connections_needed: Option<f64>,
    /// Most connections in use at once.
    pub peak_checked_out: u32,
    /// Most requests waiting at once.
    pub peak_pending: u32,
    /// The factor above what was measured.
    pub headroom: f64,
    /// The most connections the server could grant this pool; `null` where it has no limit or
    /// could not be asked.
    pub server_can_grant: Option<u32>,
}

/// A size, and why it is not what the load alone would need.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Size {
    pool_size: u32,
    max_overflow: u32,
    capped: bool,
}

fn evidence(window: &Slot, grant: Option<Grant>) -> Evidence {
    let held = window.held.mean().map(|mean| mean.as_secs_f64());
    let rate = window.arrival_rate();
    Evidence {
        window_seconds: round(window.observed.as_secs_f64(), 1),
        samples: window.held.count(),
        arrivals_per_second: round(rate, 3),
        peak_arrivals_per_second: window.peak_arrival_rate,
        mean_use_ms: window.held.mean().map(super::timings::millis),
        mean_connections_needed: held.map(|held| round(rate * held, 3)),
        peak_connections_needed: held.map(|held| round(window.peak_arrival_rate * held, 3)),
        peak_checked_out: window.peak.checked_out,
        peak_pending: window.peak.pending,
        headroom: HEADROOM,
        server_can_grant: grant.map(|grant| grant.available),
    }
}

/// The smallest pool with headroom for the mean, and overflow with headroom for the peak.
fn size(evidence: &Evidence) -> Option<Size> {
    if evidence.window_seconds < ENOUGH_TIME.as_secs_f64() || evidence.samples < ENOUGH_CHECKOUTS {
        return None;
    }
    let up = |connections: f64| (connections * HEADROOM).ceil().clamp(1.0, 10_000.0) as u32;
    let usual = up(evidence.mean_connections_needed?);
    // What was in use at once is proven need; what the busiest second brought is likely need.
    let peak = up(evidence
        .peak_connections_needed?
        .max(f64::from(evidence.peak_checked_out)))
    .max(usual);
    let ceiling = evidence.server_can_grant.unwrap_or(u32::MAX).max(1);
    let pool_size = usual.min(ceiling);
    Some(Size {
        pool_size,
        max_overflow: peak.min(ceiling) - pool_size,
        capped: peak > ceiling,
    })
}

fn sentences(evidence: &Evidence, size: Option<Size>, counts: Counts) -> Vec<String> {
    let Some(size) = size else {
        return vec![format!(
            "Not enough data: {} checkouts came back within {} s; {ENOUGH_CHECKOUTS} within {} s at least are needed for a recommendation.",
            evidence.samples,
            evidence.window_seconds,
            ENOUGH_TIME.as_secs(),
        )];
    };
    let load = format!(
        "{:.1} checkouts/s held for {:.1} ms need {:.1} connections on average; at the peak {:.1} were needed and {} were in use",
        evidence.arrivals_per_second,
        evidence.mean_use_ms.unwrap_or_default(),
        evidence.mean_connections_needed.unwrap_or_default(),
        evidence.peak_connections_needed.unwrap_or_default(),
        evidence.peak_checked_out,
    );
    let (now, then) = (counts.max_connections(), size.pool_size + size.max_overflow);
    let paste = format!(
        "DB_POOL_SIZE={} DB_MAX_OVERFLOW={}",
        size.pool_size, size.max_overflow
    );
    let mut sentences = Vec::new();
    if size.pool_size == counts.pool_size && then == now {
        sentences.push(format!("The pool fits its load: {load}."));
    } else if then < now {
        sentences.push(format!(
            "The pool is oversized: {load}. Set {paste}; {} connections fewer that the server must have room for.",
            now - then,
        ));
    } else if then > now {
        sentences.push(format!(
            "The pool is too small for its peaks: {load}. Set {paste}."
        ));
    } else {
        sentences.push(format!(
            "The total fits the load, the split does not: {load}. Set {paste}."
        ));
    }
    if size.capped {
        sentences.push(format!(
            "The server can grant only {} connections: shorten the holds, raise its max_connections, or put a pooler such as PgBouncer in between.",
            evidence.server_can_grant.unwrap_or_default(),
        ));
    }
    sentences
}

impl<S: Source> Observe<S> {
    /// Which size the load of the last five minutes needs, and why. It asks the server's limits
    /// over the monitoring lane, never over the pool.
    pub async fn optimize(&self) -> Optimization {
        let facts = self.get_ref().facts();
        let answer = facts.lane.activity(Lane::TIMEOUT).await;
        let counts = self.recorder.counts();
        let own = facts.process_ids.as_deref();
        let granted = answer
            .as_ref()
            .ok()
            .and_then(|activity| grant(activity, own, counts.open));
        let evidence = evidence(
            &self.recorder.read(Span::FiveMinutes, |slot, _, _| slot),
            granted,
        );
        let size = size(&evidence);
        let mut recommendations = sentences(&evidence, size, counts);
        if let Ok(activity) = &answer {
            let holders = self.holder_reports(&facts);
            let tally = count(activity, &facts, &holders, counts.open);
            if let Some(n) = tally
                .idle_in_transaction
                .filter(|&n| n > facts.thresholds.idle_in_transaction)
            {
                recommendations.push(format!(
                    "{n} sessions idle in a transaction: each keeps a connection that does no work."
                ));
            }
            if let Some(s) = tally
                .longest_query
                .filter(|&s| s > facts.thresholds.longest_query.as_secs_f64())
            {
                recommendations.push(format!("A query has run for {s:.1} s: shorter queries are the cheaper half of every advice."));
            }
        }
        Optimization {
            current_settings: facts.configuration,
            current_usage: CurrentUsage {
                total_connections: counts.open,
                active_connections: counts.checked_out(),
                idle_connections: counts.idle,
                pool_utilization_pct: round(
                    f64::from(counts.checked_out()) * 100.0
                        / f64::from(counts.max_connections().max(1)),
                    1,
                ),
            },
            recommended_pool_size: size.map(|size| size.pool_size),
            recommended_max_overflow: size.map(|size| size.max_overflow),
            recommendations,
            evidence,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::observe::window::Level;

    /// A minute of `rate` checkouts a second held for `held`.
    fn minute(rate: u64, held: Duration, peak: u32) -> Slot {
        let mut slot = Slot {
            observed: Duration::from_secs(60),
            arrivals: rate * 60,
            peak_arrival_rate: rate as f64,
            peak: Level {
                checked_out: peak,
                ..Level::default()
            },
            ..Slot::default()
        };
        (0..rate * 60).for_each(|_| slot.held.record(held));
        slot
    }

    fn grant_of(available: u32) -> Option<Grant> {
        Some(Grant {
            max_connections: 100,
            available,
            others: 0,
            reserved: 3,
        })
    }

    #[test]
    fn littles_law_with_headroom() {
        let evidence = evidence(&minute(100, Duration::from_millis(80), 14), grant_of(97));
        assert!((evidence.mean_connections_needed.unwrap() - 8.0).abs() < 0.01);
        assert_eq!(
            size(&evidence),
            Some(Size {
                pool_size: 10,
                max_overflow: 8,
                capped: false
            })
        );
    }

    #[test]
    fn an_oversized_pool_is_told_to_shrink() {
        let evidence = evidence(&minute(10, Duration::from_millis(50), 2), grant_of(97));
        let size = size(&evidence);
        assert_eq!(
            size,
            Some(Size {
                pool_size: 1,
                max_overflow: 2,
                capped: false
            })
        );
        let text = sentences(&evidence, size, Counts::new(30, 28, 30, 60)).join(" ");
        assert!(text.contains("oversized"), "{text}");
        assert!(
            text.contains("DB_POOL_SIZE=1 DB_MAX_OVERFLOW=2; 87 connections fewer"),
            "{text}"
        );
    }

    #[test]
    fn the_servers_limit_caps_the_advice() {
        let evidence = evidence(&minute(1000, Duration::from_millis(100), 30), grant_of(40));
        let size = size(&evidence);
        assert_eq!(
            size,
            Some(Size {
                pool_size: 40,
                max_overflow: 0,
                capped: true
            })
        );
        let text = sentences(&evidence, size, Counts::new(30, 0, 10, 20)).join(" ");
        assert!(
            text.contains("too small") && text.contains("can grant only 40"),
            "{text}"
        );
    }

    #[test]
    fn too_little_data_is_said_and_nothing_guessed() {
        let young = Slot {
            observed: Duration::from_secs(3),
            ..minute(100, Duration::from_millis(10), 3)
        };
        for slot in [
            Slot::default(),
            young,
            minute(1, Duration::from_millis(10), 1),
        ] {
            let evidence = evidence(&slot, None);
            assert_eq!(size(&evidence), None);
            assert!(
                sentences(&evidence, None, Counts::default())[0].starts_with("Not enough data")
            );
        }
    }

    #[test]
    fn a_pool_that_fits_is_left_alone() {
        let evidence = evidence(&minute(100, Duration::from_millis(80), 14), None);
        let size = size(&evidence);
        assert!(
            sentences(&evidence, size, Counts::new(10, 2, 10, 8))[0].starts_with("The pool fits")
        );
        assert!(
            sentences(&evidence, size, Counts::new(10, 2, 9, 9))[0].contains("the split does not")
        );
    }
}
