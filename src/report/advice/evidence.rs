//! What an advice rests on.

use serde::Serialize;

use super::predicted::finite;
use crate::observe::load::{AtLevel, Counts, Load, Loads};
use crate::observe::window::Slot;

/// The measurements behind a recommendation.
#[non_exhaustive]
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Evidence {
    /// What was measured, by window.
    pub windows: EvidenceWindows,
    /// The window that the curve was learned from: `busiest`, where it has enough, else `hour` or
    /// `five_minutes`; `null` without enough data.
    pub learned_from: Option<&'static str>,
    /// The window whose load is the usual one, which `recommended_pool_size` is for: `hour`, where
    /// it has enough, else `five_minutes`; `null` without enough data. The most that
    /// `recommended_pool_size` and `recommended_max_overflow` together are for is that of `busiest`.
    pub usual_from: Option<&'static str>,
    /// Arrivals a second of `busiest`, with the headroom and the factor that was asked for: the
    /// load of all that is predicted.
    pub planned_arrivals_per_second: Option<f64>,
    /// How many more arrivals than were measured it is ready for, in percent.
    pub headroom_pct: f64,
    /// How many clients the load is of, where it is one whose clients each wait for their answer before
    /// they ask again, so that no more of them can ever queue; `null` where it is not, or is not
    /// known. The headroom and the factor that was asked for are more of them.
    pub clients: Option<u32>,
    /// What was learned of each number of connections in use. Those that never were are left out.
    pub curve: Vec<CurvePoint>,
    /// The most connections the server could grant this pool at this instant; `null` where it has
    /// no limit or could not be asked.
    pub server_can_grant: Option<u32>,
}

/// What was measured, by window.
#[non_exhaustive]
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct EvidenceWindows {
    /// The last minute.
    pub minute: EvidenceWindow,
    /// The last five minutes.
    pub five_minutes: EvidenceWindow,
    /// The last hour.
    pub hour: EvidenceWindow,
    /// The five minutes of most demand within the last 24 hours.
    pub busiest: EvidenceWindow,
}

/// What was measured within one window.
#[non_exhaustive]
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct EvidenceWindow {
    /// Time covered, in seconds: shorter than the window while the pool is younger.
    pub seconds: f64,
    /// When it ended, in seconds before now.
    pub ended_seconds_ago: f64,
    /// Checkouts that came back within it.
    pub samples: u64,
    /// Checkouts asked for per second, whatever became of them.
    pub arrivals_per_second: f64,
    /// Of these, those that timed out or were turned away, in all.
    pub unserved: u64,
    /// How long a connection is held, in milliseconds; `null` before one has come back.
    pub mean_use_ms: Option<f64>,
    /// Little's law: arrivals per second times the time held, in connections; `null` before one
    /// has come back. No pool can do with less.
    pub mean_connections_needed: Option<f64>,
    /// The squared coefficient of variation of the times between arrivals: 1 for arrivals that know
    /// nothing of each other, more for bursts, 0 for a clock's.
    pub arrival_variation: Option<f64>,
    /// The same of the times that connections are held.
    pub use_variation: Option<f64>,
    /// Variance over mean of the arrivals in 10 ms, 100 ms and 1 s: 1 for arrivals that know nothing
    /// of each other, more for bursts of about that length.
    pub dispersion: [Option<f64>; 3],
    /// Most connections in use at once.
    pub peak_checked_out: u32,
    /// Most arrivals within one second; `null` where it is not kept.
    pub peak_arrivals_per_second: Option<f64>,
    /// Most requests waiting at once; `null` where it is not kept.
    pub peak_pending: Option<u32>,
}

/// What was learned of so many connections in use.
#[non_exhaustive]
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct CurvePoint {
    /// Connections in use; above 128 the middle of several.
    pub connections: u32,
    /// Time in which so many were, in seconds.
    pub seconds: f64,
    /// Connections that came back from there.
    pub completions: u64,
    /// The one over the other; `null` where nothing came back.
    pub completions_per_second: Option<f64>,
    /// What came back in a second over 16 check-ins in a row, with never fewer in use and so many
    /// once; `null` where there was no such run.
    pub sustained_per_second: Option<f64>,
    /// How many such runs there were.
    pub runs: u64,
    /// Completions in a second as the model has them: what so many would serve for long; `null`
    /// without enough data.
    pub smoothed_per_second: Option<f64>,
    /// Of the mean time held with so many in use, the part in which the database was at work, in
    /// milliseconds; `null` where it is not known.
    pub in_queries_ms: Option<f64>,
    /// The other part: the service's own time.
    pub outside_ms: Option<f64>,
}

impl EvidenceWindows {
    pub(super) fn read(loads: &Loads, minute: &Slot, five_minutes: &Slot) -> Self {
        Self {
            minute: EvidenceWindow::read(&loads.minute, 0.0, Some(minute)),
            five_minutes: EvidenceWindow::read(&loads.five_minutes, 0.0, Some(five_minutes)),
            hour: EvidenceWindow::read(&loads.hour, 0.0, None),
            busiest: EvidenceWindow::read(&loads.busiest, loads.busiest_ended, None),
        }
    }
}

impl EvidenceWindow {
    fn read(load: &Load, ended: f64, slot: Option<&Slot>) -> Self {
        let held = load.held.mean();
        let needed = held.map(|held| held * load.arrival_rate());
        Self {
            seconds: finite(load.seconds, 1).unwrap_or_default(),
            ended_seconds_ago: finite(ended, 1).unwrap_or_default(),
            samples: load.held.count,
            arrivals_per_second: finite(load.arrival_rate(), 3).unwrap_or_default(),
            unserved: load.unserved,
            mean_use_ms: held.and_then(|held| finite(held * 1e3, 3)),
            mean_connections_needed: needed.and_then(|needed| finite(needed, 3)),
            arrival_variation: load.between.squared_variation().and_then(|v| finite(v, 3)),
            use_variation: load.held.squared_variation().and_then(|v| finite(v, 3)),
            dispersion: load.counts.each_ref().map(dispersion),
            peak_checked_out: load
                .levels
                .iter()
                .rposition(|level| level.seconds > 0.0 || level.holds > 0)
                .map_or(0, connections_at),
            peak_arrivals_per_second: slot.map(|slot| slot.peak_arrival_rate),
            peak_pending: slot.map(|slot| slot.peak.pending),
        }
    }
}

impl CurvePoint {
    /// The levels that were seen; `smoothed` is the model's rate.
    pub(super) fn curve(load: &Load, smoothed: impl Fn(u32) -> Option<f64>) -> Vec<Self> {
        let levels = load.levels.iter().enumerate();
        levels
            .filter(|(_, level)| level.seconds > 0.0 || level.holds > 0)
            .filter(|(index, _)| *index > 0)
            .map(|(index, level)| Self::new(connections_at(index), level, &smoothed))
            .collect()
    }

    fn new(connections: u32, level: &AtLevel, smoothed: &impl Fn(u32) -> Option<f64>) -> Self {
        let rate = level.completions as f64 / level.seconds;
        let mean = level.held / level.holds as f64;
        let share = (level.measured > 0.0).then(|| (level.busy / level.measured).min(1.0));
        let part = |of: Option<f64>| of.and_then(|of| finite(of * mean * 1e3, 3));
        Self {
            connections,
            seconds: finite(level.seconds, 3).unwrap_or_default(),
            completions: level.completions,
            completions_per_second: finite(rate, 3).filter(|_| level.completions > 0),
            sustained_per_second: level
                .runs
                .mean()
                .and_then(|mean| finite(f64::from(Load::RUN) / mean, 3)),
            runs: level.runs.count,
            smoothed_per_second: smoothed(connections).and_then(|rate| finite(rate, 3)),
            in_queries_ms: part(share),
            outside_ms: part(share.map(|share| 1.0 - share)),
        }
    }
}

fn dispersion(counts: &Counts) -> Option<f64> {
    counts
        .dispersion()
        .and_then(|dispersion| finite(dispersion, 3))
}

/// A cast of a float keeps within what it casts to.
fn connections_at(index: usize) -> u32 {
    Load::level_of(index).round() as u32
}
