//! What comes back from each level for long: told from what was seen to come back from it, from how
//! long holds took, and from runs of check-ins.
//!
//! None of the three is right by itself. What is seen is right where all goes by chance, or where
//! those in use share what saturates. Where they take turns at it, a high level is left faster than
//! for long, and a low one later. By Little's law a level's rate also is the level over its mean hold.
//! That mean is biased where holds vary: short ones see the extreme levels. Where the time in queries
//! was measured, it alone is taken from the level, and the time outside from all holds, as it is the
//! same at each. Runs are right at the highest levels, and bound all below them.

use super::holds::Holds;
use super::law::Point;
use super::returns::Returns;

/// From this variation of the holds on, what was seen to come back tells the rate, if it is not known
/// how those in use get in each other's way, nor the time in queries.
const FORGETFUL: f64 = 0.4;

pub(super) struct Lasting<'a> {
    pub(super) holds: &'a Holds,
    pub(super) returns: Option<&'a Returns>,
    /// How far those in use take turns, if it is known.
    pub(super) turns: Option<f64>,
    /// The most that may be in use; infinite if that is not known.
    pub(super) full: f64,
    /// The share of those that came back which came from there.
    pub(super) often_full: f64,
}

impl Lasting<'_> {
    pub(super) fn at(&self, seen: &Point) -> Point {
        let Some(returns) = self.returns else {
            return self.by_holds(seen, self.usual_trust());
        };
        let chance = returns.variation(self.turns.unwrap_or(1.0)).min(1.0);
        if seen.level == self.full
            && let Some(rate) = returns.full(self.full)
        {
            return mixed(seen, rate, chance);
        }
        let trust = if seen.level == self.full - 1.0 {
            // A full pool has one less just after one came back, and then it takes a while.
            chance
        } else {
            match self.turns {
                Some(turns) => {
                    chance + (1.0 - chance) * (1.0 - turns).powi(2) * (1.0 - self.often_full)
                }
                None => self.usual_trust(),
            }
        };
        let found = self.by_holds(seen, trust);
        let most = returns.most(found.level).min(found.rate);
        mixed(&found, most, chance)
    }

    /// What bias the holds have is that of the queries' own variation, which is at most their share
    /// of the holds'. The more there is of it, the more is told by what comes back from the level.
    fn usual_trust(&self) -> f64 {
        let variation = self.holds.variation;
        match self.holds.outside() {
            Some(outside) => variation.min(1.0) * (1.0 - outside / self.holds.mean).clamp(0.0, 1.0),
            None => (variation / FORGETFUL).min(1.0),
        }
    }

    /// `trust` is that in what was seen.
    fn by_holds(&self, seen: &Point, trust: f64) -> Point {
        let mut holds = self.holds.at.iter();
        let Some(at) = holds.find(|at| at.level == seen.level) else {
            return *seen;
        };
        let held = match (at.parts, self.holds.outside()) {
            (Some((in_queries, _)), Some(outside)) => in_queries + outside,
            _ => at.held,
        };
        mixed(seen, at.level / held, trust)
    }
}

/// So much of what was seen, and the rest of the other rate.
fn mixed(seen: &Point, rate: f64, trust: f64) -> Point {
    Point {
        rate: seen.rate.powf(trust) * rate.powf(1.0 - trust),
        ..*seen
    }
}
