//! The window of the last day in which the most connections were held on average.

use super::Counted;
use crate::record::clock::MINUTE;

/// Period of which the busiest window is kept; the window of the period before is kept, too.
pub(super) const HALF_DAY: u64 = 12 * 60 * MINUTE;

/// The busiest windows of this half-day and of the previous one.
#[derive(Debug, Default)]
pub(super) struct Busiest(pub(super) [Option<BusiestWindow>; 2]);

/// The busiest window of a half-day.
#[derive(Debug)]
pub(super) struct BusiestWindow {
    half_day: u64,
    /// Mean number of connections held.
    held: f64,
    ended: u64,
    pub(super) segments: Vec<Counted>,
}

impl Busiest {
    /// Keeps the window that ends now if it is the busiest of this half-day.
    pub(super) fn compare(&mut self, segments: Vec<Counted>, now: u64) {
        let held = mean_held(&segments);
        let half_day = now / HALF_DAY;
        let [current, before] = &mut self.0;
        if current.as_ref().is_none_or(|it| it.half_day != half_day) {
            *before = current.take();
        }
        if current.as_ref().is_none_or(|it| it.held < held) {
            *current = Some(BusiestWindow {
                half_day,
                held,
                ended: now,
                segments,
            });
        }
    }

    /// Returns the segments of the busiest window, and when it ended.
    pub(super) fn read(&self, now: u64) -> Option<(Vec<Counted>, u64)> {
        let known = self.0.iter().flatten();
        let known = known.filter(|window| window.ended + 2 * HALF_DAY > now);
        let busiest = known.max_by(|a, b| a.held.total_cmp(&b.held))?;
        Some((busiest.segments.clone(), busiest.ended))
    }
}

/// Returns the mean number of connections held. Each segment is weighted by the number of checkouts that
/// it represents.
pub(super) fn mean_held(segments: &[Counted]) -> f64 {
    let (mut held, mut asked) = (0.0, 0.0);
    for counted in segments {
        let (segment, weight) = (&counted.segment, counted.asked as f64);
        held += weight * segment.held() / segment.seconds().max(1e-6);
        asked += weight;
    }
    held / asked.max(1.0)
}
