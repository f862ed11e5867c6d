//! Finds where concurrent holds slowed each other down: the hypothesis under which the remaining work of
//! the holds does not depend on the other holds.

use std::collections::{HashMap, HashSet};

use super::simulator::{Job, Station};
use super::statistics::Pairs;
use super::trace::{Checkout, Trace};
use super::undo::{Timeline, Visit, Work};

/// Which part of a hold passes the station.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Part {
    /// The time in queries, from the first to the last.
    Queries,
    /// The time outside of queries.
    Outside,
}

/// An explanation of the hold times: the work of each hold alone, and where holds slow each other down.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Fit {
    pub(crate) station: Station,
    pub(crate) part: Part,
    /// The call sites whose holds pass the station; `None` if all do.
    pub(crate) places: Option<HashSet<u16>>,
    /// How much the remaining work still depends on the other holds: the largest of three Kolmogorov
    /// distances.
    pub(crate) left: f64,
    /// Whether `left` may be chance, or is small compared to the dependence without the explanation.
    pub(crate) understood: bool,
    /// The work of each complete checkout, in the order of the trace.
    pub(crate) jobs: Vec<Job>,
}

/// The minimum number of holds to find a station.
const HOLDS: usize = 500;

/// Holds of one call site are compared in groups of this size, so that slow changes do not matter.
const GROUP: u32 = 512;

/// A dependence of more than this many standard deviations is not chance.
const SURE: f64 = 4.0;

/// An explanation must leave less than this share of the dependence without any.
const BETTER: f64 = 0.6;

/// An explanation that leaves less than this share is as good as possible for a real server.
const EXPLAINED: f64 = 0.3;

/// A remaining dependence below this distance changes no prediction by much. Holds on a real server always
/// depend on each other a little: 0.03 to 0.09 were measured without contention, and 0.17 to 0.68 behind a lock.
const NEGLIGIBLE: f64 = 0.1;

/// An explanation that leaves more than the best one, by this factor, is rejected.
const WORSE: f64 = 1.5;

/// The number of bisections to find a parameter.
const STEPS: u32 = 12;

/// A call site may have another cause if its dependence is lower than this share of the strongest one.
const STRONG: f64 = 0.5;

/// Returns the distance that chance and the irregularities of a real server leave.
fn chance(holds: usize) -> f64 {
    0.02 + 2.0 / (holds.max(1) as f64).sqrt()
}

impl Fit {
    /// Returns the explanation of a trace. If several explanations remove the dependence, selects the one
    /// that also reproduces the record; `distance` replays a fit and compares it with the record.
    pub(crate) fn of(trace: &Trace, distance: impl Fn(&Self) -> f64) -> Self {
        let holds = Holds::of(trace);
        let free = holds.free();
        if holds.all < HOLDS || free.understood {
            return free;
        }
        let mut fits = holds.explanations();
        fits.retain(|fit| fit.left < BETTER * free.left);
        for fit in &mut fits {
            fit.understood |= fit.left < EXPLAINED * free.left;
        }
        let least = fits
            .iter()
            .map(|fit| fit.left)
            .fold(f64::INFINITY, f64::min);
        fits.retain(|fit| fit.understood || fit.left <= WORSE * least);
        let scored = fits.into_iter().map(|fit| (fit.left + distance(&fit), fit));
        let best = scored.min_by(|a, b| a.0.total_cmp(&b.0));
        let mut best = best.map_or(free, |(_, fit)| fit);
        best.understood |= best.left < NEGLIGIBLE;
        best
    }
}

/// The complete holds of a trace.
struct Holds<'a> {
    runs: Vec<Vec<&'a Checkout>>,
    all: usize,
    /// The comparison group of each hold.
    groups: Vec<u32>,
    /// The number of other connections in use when each hold began.
    in_use: Vec<f64>,
    /// The recorded parts of each hold, with the number of other holds in the same part.
    queries: Vec<Work>,
    outside: Vec<Work>,
}

impl<'a> Holds<'a> {
    fn of(trace: &'a Trace) -> Self {
        let complete = |run| trace.of_run(run).iter().filter(|it| it.is_complete());
        let runs: Vec<Vec<&Checkout>> = trace
            .runs
            .iter()
            .map(|run| complete(run).collect())
            .collect();
        let mut seen: HashMap<u16, u32> = HashMap::new();
        let groups = runs.iter().flatten().map(|checkout| {
            let before = seen.entry(checkout.place).or_default();
            *before += 1;
            (u32::from(checkout.place) << 16) | (((*before - 1) / GROUP) & 0xFFFF)
        });
        let groups: Vec<u32> = groups.collect();
        let as_it_was = |visit: fn(&Checkout) -> Visit| -> Vec<Work> {
            works(&timelines(&runs, visit), Timeline::free)
        };
        let holds = as_it_was(Visit::hold);
        let (queries, outside) = (as_it_was(Visit::queries), as_it_was(Visit::outside));
        Self {
            all: groups.len(),
            groups,
            in_use: holds.iter().map(|hold| hold.others).collect(),
            queries,
            outside,
            runs,
        }
    }

    fn free(&self) -> Fit {
        self.fit(Station::Free, Part::Queries, None, &self.queries)
    }

    fn explanations(&self) -> Vec<Fit> {
        let mut fits = vec![
            self.shared(Part::Queries, None),
            self.shared(Part::Outside, None),
            self.locked(None),
        ];
        for places in self.depending() {
            fits.push(self.shared(Part::Queries, Some(places.clone())));
            fits.push(self.locked(Some(places)));
        }
        fits
    }

    /// Returns up to two sets of call sites, unless they are all: those whose holds depend strongly on
    /// other holds, and those whose holds depend on them at all.
    fn depending(&self) -> Vec<HashSet<u16>> {
        let place = |hold: usize| (self.groups[hold] >> 16) as u16;
        let places: HashSet<u16> = (0..self.all).map(place).collect();
        let dependence = |one: u16| self.pairs_of(&self.queries, |hold| place(hold) == one);
        let dependences: Vec<(u16, Pairs)> =
            places.iter().map(|one| (*one, dependence(*one))).collect();
        let sure = || dependences.iter().filter(|(_, it)| it.dependence() > SURE);
        let most = sure().map(|(_, it)| it.correlation()).fold(0.0, f64::max);
        let all: HashSet<u16> = sure().map(|(one, _)| *one).collect();
        let strong = sure().filter(|(_, it)| it.correlation() > STRONG * most);
        let strong: HashSet<u16> = strong.map(|(one, _)| *one).collect();
        let mut sets = vec![strong];
        if sets[0] != all {
            sets.push(all);
        }
        sets.retain(|set| !set.is_empty() && set.len() < places.len());
        sets
    }

    /// Finds the number of processors for which the work does not depend on the other holds.
    fn shared(&self, part: Part, places: Option<HashSet<u16>>) -> Fit {
        let timelines = timelines(&self.runs, |checkout| {
            let visit = match part {
                Part::Queries => Visit::queries(checkout),
                Part::Outside => Visit::outside(checkout),
            };
            only(&places, checkout, visit)
        });
        let others = timelines.iter().map(Timeline::most_others);
        let most = 1.0 + others.fold(0.0, f64::max);
        let with = |processors: f64| works(&timelines, |timeline| timeline.shared(processors));
        // Bisects the inverse: from one processor per hold to half a processor for all.
        let (mut more, mut fewer) = (1.0 / most, 2.0);
        for _ in 0..STEPS {
            let middle = f64::midpoint(more, fewer);
            let works = with(1.0 / middle);
            match self.dependence(&works, |hold| works[hold].inside > 0.0) > 0.0 {
                true => more = middle,
                false => fewer = middle,
            }
        }
        let processors = 1.0 / f64::midpoint(more, fewer);
        self.fit(Station::Shared(processors), part, places, &with(processors))
    }

    /// Finds the share of the time between queries that must belong to the locked section, so that the
    /// work in it does not depend on the other holds.
    fn locked(&self, places: Option<HashSet<u16>>) -> Fit {
        let with = |share: f64| {
            let timelines = timelines(&self.runs, |checkout| {
                only(&places, checkout, Visit::section(checkout, share))
            });
            let works = works(&timelines, Timeline::locked);
            let dependence = self.dependence(&works, |hold| works[hold].inside > 0.0);
            (works, dependence)
        };
        let (mut works, dependence) = with(0.0);
        if dependence > SURE {
            let (whole, dependence) = with(1.0);
            works = whole;
            if dependence < 0.0 {
                let (mut less, mut more) = (0.0, 1.0);
                for _ in 0..STEPS {
                    let middle = f64::midpoint(less, more);
                    let (found, dependence) = with(middle);
                    works = found;
                    match dependence > 0.0 {
                        true => less = middle,
                        false => more = middle,
                    }
                }
            }
        }
        self.fit(Station::Lock, Part::Queries, places, &works)
    }

    fn fit(
        &self,
        station: Station,
        part: Part,
        places: Option<HashSet<u16>>,
        works: &[Work],
    ) -> Fit {
        let other = match part {
            Part::Queries => &self.outside,
            Part::Outside => &self.queries,
        };
        let whole = works.iter().zip(&self.groups).zip(&self.in_use);
        let whole = whole.map(|((work, group), in_use)| (*group, *in_use, work.whole()));
        let distances = [self.pairs(works), self.pairs(other), Pairs::new(whole)];
        let left = distances.iter().map(Pairs::distance).fold(0.0, f64::max);
        let jobs = works.iter().map(|work| Job {
            before: work.before,
            inside: work.inside,
            after: work.after,
        });
        Fit {
            station,
            part,
            places,
            left,
            understood: left < chance(self.all),
            jobs: jobs.collect(),
        }
    }

    /// Pairs the work inside with the number of other holds there.
    fn pairs(&self, works: &[Work]) -> Pairs {
        let pairs = works.iter().zip(&self.groups);
        Pairs::new(pairs.map(|(work, group)| (*group, work.others, work.inside)))
    }

    /// Returns the significance of the dependence of the work inside on the other holds there. The work
    /// is bounded, so that a few long holds do not dominate.
    fn dependence(&self, works: &[Work], only: impl Fn(usize) -> bool) -> f64 {
        self.pairs_of(works, only).dependence()
    }

    /// Pairs the bounded work inside with the number of other holds there.
    fn pairs_of(&self, works: &[Work], only: impl Fn(usize) -> bool) -> Pairs {
        let holds = || works.iter().enumerate().filter(|(hold, _)| only(*hold));
        let mean = holds().map(|(_, work)| work.inside).sum::<f64>() / holds().count() as f64;
        let pairs = holds().map(|(hold, work)| {
            let bounded = work.inside / (work.inside + mean);
            (self.groups[hold], work.others, bounded)
        });
        Pairs::new(pairs)
    }
}

/// Removes the visit of a hold whose call site is not in `places`.
fn only(places: &Option<HashSet<u16>>, checkout: &Checkout, visit: Visit) -> Visit {
    match places {
        Some(places) if !places.contains(&checkout.place) => Visit {
            until: visit.from,
            density: 0.0,
            ..visit
        },
        _ => visit,
    }
}

fn timelines<'a>(
    runs: &[Vec<&'a Checkout>],
    visit: impl Fn(&Checkout) -> Visit,
) -> Vec<Timeline<'a>> {
    runs.iter()
        .map(|run| Timeline::new(run.clone(), &visit))
        .collect()
}

fn works<'a>(timelines: &[Timeline<'a>], of: impl Fn(&Timeline<'a>) -> Vec<Work>) -> Vec<Work> {
    timelines.iter().flat_map(of).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::advice::model::Model;
    use crate::advice::model::tests::loads::{Coming, Hold, Load, Time};

    fn fit(load: &Load, size: u32) -> Fit {
        let model = Model::learn(&load.run(size, 3).trace).unwrap();
        assert_eq!(model.fit.jobs.len(), load.run(size, 3).trace.completed());
        model.fit
    }

    fn of(station: Station, rate: f64) -> Load {
        let hold = Hold::new(Time::Exponential(0.008), Time::Steady(0.003));
        Load::new(Coming::Poisson(rate), hold, station, 21.0)
    }

    #[test]
    fn independent_holds_have_no_station() {
        let load = of(Station::Free, 300.0);
        // Unobserved queries count as the whole hold.
        for watched in [true, false] {
            for seconds in [21.0, 40.0] {
                let load = Load {
                    watched,
                    seconds,
                    ..load.clone()
                };
                for size in [4, 12] {
                    let fit = fit(&load, size);
                    assert_eq!(
                        (fit.station, fit.understood),
                        (Station::Free, true),
                        "{}",
                        fit.left
                    );
                }
            }
            let slow = Load {
                watched,
                coming: Coming::Poisson(60.0),
                ..load.clone()
            };
            assert!(fit(&slow, 3).understood);
        }
    }

    #[test]
    fn a_station_and_the_work_there_are_found() {
        let lock = fit(&of(Station::Lock, 230.0), 10);
        assert_eq!((lock.station, lock.part), (Station::Lock, Part::Queries));
        let shared = fit(&of(Station::Shared(2.0), 450.0), 10);
        assert_eq!(shared.part, Part::Queries);
        let Station::Shared(processors) = shared.station else {
            panic!("{:?}", shared.station);
        };
        assert!((processors - 2.0).abs() < 0.1, "{processors}");
        for fit in [lock, shared] {
            assert!(fit.understood && fit.places.is_none());
            let inside = fit.jobs.iter().map(|job| job.inside).sum::<f64>();
            let mean = inside / fit.jobs.len() as f64;
            assert!((mean - 0.003).abs() < 0.0001, "{mean}");
        }
    }

    #[test]
    fn the_call_sites_that_slow_each_other_down_are_found() {
        let load = of(Station::Lock, 400.0);
        let other = Hold {
            visits: false,
            ..load.holds[0]
        };
        let load = Load {
            holds: vec![other, load.holds[0]],
            ..load
        };
        let fit = fit(&load, 14);
        assert_eq!((fit.station, fit.understood), (Station::Lock, true));
        assert_eq!(fit.places, Some(HashSet::from([1])));
    }

    #[test]
    fn a_service_that_shares_its_processors_between_queries_is_found() {
        // The part before the station is the query; the rest of the hold is outside of queries.
        let mut trace = of(Station::Shared(2.0), 450.0).run(12, 3).trace;
        for checkout in &mut trace.checkouts {
            if let Some(queries) = &mut checkout.queries {
                let busy = queries.first - checkout.granted;
                (queries.first, queries.last) = (checkout.granted, queries.first);
                queries.busy = busy;
            }
        }
        let fit = Model::learn(&trace).unwrap().fit;
        let Station::Shared(processors) = fit.station else {
            panic!("{:?}", fit.station);
        };
        assert!((processors - 2.0).abs() < 0.7, "{processors}");
        assert_eq!(fit.part, Part::Outside);
    }
}
