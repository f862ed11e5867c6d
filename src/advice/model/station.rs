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

/// A part that takes less than this share of the holds changes no prediction, however much it depends on them.
const SMALL: f64 = 0.05;

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
        if free.understood {
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
        // No station is better than one that does not reproduce the record.
        let mut best = free;
        let mut score = best.left + distance(&best);
        for fit in fits {
            let other = fit.left + distance(&fit);
            if other < score {
                (best, score) = (fit, other);
            }
        }
        best.understood |= best.left < NEGLIGIBLE;
        best
    }
}

/// The complete holds of a trace.
struct Holds<'a> {
    checkouts: Vec<&'a Checkout>,
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
        let checkouts = trace.checkouts.iter().filter(|it| it.is_complete());
        let checkouts: Vec<&Checkout> = checkouts.collect();
        let mut seen: HashMap<u16, u32> = HashMap::new();
        let groups = checkouts.iter().map(|checkout| {
            let before = seen.entry(checkout.place).or_default();
            *before += 1;
            (u32::from(checkout.place) << 16) | (((*before - 1) / GROUP) & 0xFFFF)
        });
        let as_it_was = |visit: fn(&Checkout) -> Visit| Timeline::new(&checkouts, visit).free();
        Self {
            groups: groups.collect(),
            in_use: Timeline::new(&checkouts, Visit::hold).others,
            queries: as_it_was(Visit::queries),
            outside: as_it_was(Visit::outside),
            checkouts,
        }
    }

    fn free(&self) -> Fit {
        self.fit(Station::Free, Part::Queries, None, &self.queries)
    }

    fn explanations(&self) -> Vec<Fit> {
        let mut fits = vec![self.shared(Part::Outside, None)];
        for places in std::iter::once(None).chain(self.depending().into_iter().map(Some)) {
            fits.push(self.shared(Part::Queries, places.clone()));
            fits.push(self.locked(places));
        }
        fits
    }

    /// Returns up to two sets of call sites, unless they are all: those whose holds depend strongly on
    /// other holds, and those whose holds depend on them at all.
    fn depending(&self) -> Vec<HashSet<u16>> {
        let place = |hold: usize| (self.groups[hold] >> 16) as u16;
        let places: HashSet<u16> = (0..self.groups.len()).map(place).collect();
        let mut sure = Vec::new();
        for one in &places {
            let pairs = self.pairs_of(&self.queries, |hold| place(hold) == *one);
            if pairs.dependence() > SURE {
                sure.push((*one, pairs.correlation()));
            }
        }
        let most = sure.iter().map(|it| it.1).fold(0.0, f64::max);
        let above = |least: f64| -> HashSet<u16> {
            let above = sure.iter().filter(|it| it.1 > least);
            above.map(|it| it.0).collect()
        };
        let mut sets = vec![above(STRONG * most), above(0.0)];
        sets.dedup();
        sets.retain(|set| !set.is_empty() && set.len() < places.len());
        sets
    }

    /// Finds the number of processors for which the work does not depend on the other holds.
    fn shared(&self, part: Part, places: Option<HashSet<u16>>) -> Fit {
        let visit: fn(&Checkout) -> Visit = match part {
            Part::Queries => Visit::queries,
            Part::Outside => Visit::outside,
        };
        let timeline = self.timeline(&places, visit);
        let most = 1.0 + timeline.most_others();
        let with = |processors: f64| timeline.shared(processors);
        // The inverse is from one processor per hold to one for all.
        let inverse = bisect(1.0 / most, 1.0, |inverse| {
            self.dependence(&with(1.0 / inverse)) > 0.0
        });
        let processors = 1.0 / inverse;
        self.fit(Station::Shared(processors), part, places, &with(processors))
    }

    /// Finds the share of the time between queries that must belong to the locked section, so that the
    /// work in it does not depend on the other holds.
    fn locked(&self, places: Option<HashSet<u16>>) -> Fit {
        let with = |share: f64| {
            let section = |checkout: &Checkout| Visit::section(checkout, share);
            self.timeline(&places, section).locked()
        };
        let dependence = |share: f64| self.dependence(&with(share));
        let share = match dependence(0.0) > SURE {
            false => 0.0,
            true if dependence(1.0) >= 0.0 => 1.0,
            true => bisect(0.0, 1.0, |share| dependence(share) > 0.0),
        };
        let works = with(share);
        self.fit(Station::Lock, Part::Queries, places, &works)
    }

    /// Returns the visits of the holds whose call site is in `places`.
    fn timeline(
        &self,
        places: &Option<HashSet<u16>>,
        visit: impl Fn(&Checkout) -> Visit,
    ) -> Timeline<'_> {
        Timeline::new(&self.checkouts, |checkout| {
            let visit = visit(checkout);
            match places {
                Some(places) if !places.contains(&checkout.place) => Visit {
                    until: visit.from,
                    density: 0.0,
                    ..visit
                },
                _ => visit,
            }
        })
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
        let whole = whole.map(|((work, group), in_use)| (*group, *in_use, work.job.whole()));
        let parts = [works, other].into_iter().filter(|works| is_large(works));
        let distances = parts.map(|works| self.pairs(works));
        let distances = distances.chain([Pairs::new(whole)]);
        let left = distances.map(|it| it.distance()).fold(0.0, f64::max);
        Fit {
            station,
            part,
            places,
            left,
            understood: left < chance(self.groups.len()),
            jobs: works.iter().map(|work| work.job).collect(),
        }
    }

    /// Pairs the work inside with the number of other holds there.
    fn pairs(&self, works: &[Work]) -> Pairs {
        let pairs = works.iter().zip(&self.groups);
        Pairs::new(pairs.map(|(work, group)| (*group, work.others, work.job.inside)))
    }

    /// Returns the significance of the dependence of the work inside on the other holds there, for the
    /// holds that pass the station.
    fn dependence(&self, works: &[Work]) -> f64 {
        let visits = |hold: usize| works[hold].job.inside > 0.0;
        self.pairs_of(works, visits).dependence()
    }

    /// Pairs the work inside with the number of other holds there. The work is bounded, so that a few
    /// long holds do not dominate.
    fn pairs_of(&self, works: &[Work], only: impl Fn(usize) -> bool) -> Pairs {
        let holds = || works.iter().enumerate().filter(|(hold, _)| only(*hold));
        let mean = holds().map(|(_, work)| work.job.inside).sum::<f64>() / holds().count() as f64;
        let pairs = holds().map(|(hold, work)| {
            let bounded = work.job.inside / (work.job.inside + mean);
            (self.groups[hold], work.others, bounded)
        });
        Pairs::new(pairs)
    }
}

/// Returns whether the work inside is more than a small share of the holds.
fn is_large(works: &[Work]) -> bool {
    let sum = |part: fn(&Job) -> f64| works.iter().map(|work| part(&work.job)).sum::<f64>();
    sum(|job| job.inside) > SMALL * sum(Job::whole)
}

/// Returns where `is_less` changes from true to false.
fn bisect(mut less: f64, mut more: f64, is_less: impl Fn(f64) -> bool) -> f64 {
    for _ in 0..STEPS {
        let middle = f64::midpoint(less, more);
        match is_less(middle) {
            true => less = middle,
            false => more = middle,
        }
    }
    f64::midpoint(less, more)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::advice::model::Model;
    use crate::advice::model::random::Random;
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

    /// Returns the record of a server that stops all queries for a moment, four times a second.
    fn of_a_server_that_stalls(load: &Load) -> Trace {
        let mut random = Random::new(7);
        let mut stalls = vec![(0.0, 0.0)];
        while stalls.last().is_some_and(|stall| stall.1 < 30.0) {
            let from = stalls.last().map_or(0.0, |stall| stall.1) + random.exponential(0.25);
            stalls.push((from, from + random.exponential(0.04)));
        }
        let mut trace = load.run(8, 3).trace;
        for checkout in &mut trace.checkouts {
            let Some(queries) = checkout.queries.as_mut() else {
                continue;
            };
            let last = stalls.iter().fold(queries.last, |last, (from, until)| {
                match *from < last && *until > queries.first {
                    true => last + until - from.max(queries.first),
                    false => last,
                }
            });
            checkout.returned += last - queries.last;
            queries.busy += last - queries.last;
            queries.last = last;
        }
        trace
    }

    #[test]
    fn a_server_that_stalls_is_not_taken_for_an_overloaded_one() {
        let hold = Hold::new(Time::Exponential(0.001), Time::Steady(0.001));
        for rate in [60.0, 120.0, 240.0] {
            let load = Load::new(Coming::Poisson(rate), hold, Station::Free, 21.0);
            let trace = of_a_server_that_stalls(&load);
            let model = Model::learn(&trace).unwrap();
            assert!(!model.fit.understood, "{rate}: {}", model.fit.left);
            for times in [1.0, 1.2] {
                let found = model.at(8, times);
                let utilization = model.recorded.demand() * times / 8.0;
                assert!(
                    (found.utilization / utilization - 1.0).abs() < 0.2,
                    "{rate}: {found:?} of {utilization}"
                );
                assert!(found.p95 < 0.005, "{rate}: {found:?}");
            }
        }
    }

    #[test]
    fn a_part_that_takes_little_of_the_hold_is_ignored() {
        let hold = Hold::new(Time::Exponential(0.02), Time::Steady(0.0004));
        let load = Load::new(Coming::Poisson(200.0), hold, Station::Shared(1.0), 21.0);
        let fit = fit(&load, 10);
        assert_eq!((fit.station, fit.understood), (Station::Free, true));
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
