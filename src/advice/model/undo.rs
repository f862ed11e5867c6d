//! Removes the mutual slowdown from each hold, under a hypothesis about where it occurred.

use super::simulator::Job;
use super::trace::Checkout;

/// The time that a hold spends at the station, where other holds may slow it down.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Visit {
    pub(crate) from: f64,
    pub(crate) until: f64,
    /// The share of this time in which the hold uses the station.
    pub(crate) density: f64,
}

/// The work of a hold without slowdown.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Work {
    pub(crate) job: Job,
    /// The sum of the densities of the others that were at the station when the hold arrived there.
    pub(crate) others: f64,
}

/// The minimum work, in seconds.
const LEAST: f64 = 1e-7;

/// The minimum length of a visit, in seconds: the record has a resolution of one microsecond.
const TICK: f64 = 1e-6;

impl Visit {
    /// Returns the whole hold.
    pub(crate) fn hold(checkout: &Checkout) -> Self {
        Self {
            from: checkout.granted,
            until: checkout.returned,
            density: 1.0,
        }
    }

    /// Returns the time from the first query to the last.
    pub(crate) fn queries(checkout: &Checkout) -> Self {
        let queries = checkout.queries();
        let length = queries.last - queries.first;
        Self {
            from: queries.first,
            until: queries.last,
            density: share(queries.busy, length),
        }
    }

    /// Returns the time outside of queries, anywhere in the hold.
    pub(crate) fn outside(checkout: &Checkout) -> Self {
        Self {
            density: 1.0 - share(checkout.queries().busy, checkout.held()),
            ..Self::hold(checkout)
        }
    }

    /// Returns a section that ends with the last query. It is as long as the queries plus `share` of the
    /// time between them.
    pub(crate) fn section(checkout: &Checkout, share: f64) -> Self {
        let queries = checkout.queries();
        let between = (queries.last - queries.first - queries.busy).max(0.0);
        Self {
            from: queries.last - queries.busy - share * between,
            until: queries.last,
            density: 1.0,
        }
    }

    fn length(&self) -> f64 {
        self.until - self.from
    }

    /// Returns the work of the hold, of which `inside` seconds are at the station.
    fn work(&self, checkout: &Checkout, inside: f64, others: f64) -> Work {
        let outside = (checkout.held() - self.density * self.length()).max(0.0);
        let after = (checkout.returned - self.until).clamp(0.0, outside);
        let least = if self.density > 0.0 { LEAST } else { 0.0 };
        let job = Job {
            before: outside - after,
            inside: inside.max(least),
            after,
        };
        Work { job, others }
    }
}

fn share(part: f64, of: f64) -> f64 {
    if of > 0.0 {
        (part / of).clamp(0.0, 1.0)
    } else {
        1.0
    }
}

/// The visits of some holds, as a timeline of events.
pub(crate) struct Timeline<'a> {
    checkouts: &'a [&'a Checkout],
    visits: Vec<Visit>,
    /// The intervals between consecutive events.
    between: Vec<Between>,
    /// The indices of the events at which each visit starts and ends.
    ends: Vec<(u32, u32)>,
    /// The sum of the densities of the others that were there when each visit started.
    pub(crate) others: Vec<f64>,
}

#[derive(Debug, Clone, Copy)]
struct Between {
    seconds: f64,
    /// The expected number of others for each hold that is present, and its standard deviation.
    others: f64,
    spread: f64,
}

impl<'a> Timeline<'a> {
    pub(crate) fn new(checkouts: &'a [&'a Checkout], visit: impl Fn(&Checkout) -> Visit) -> Self {
        let visits: Vec<Visit> = checkouts.iter().map(|checkout| visit(checkout)).collect();
        let mut events: Vec<(f64, bool, u32)> = Vec::with_capacity(2 * visits.len());
        for (who, visit) in visits.iter().enumerate() {
            events.push((visit.from, true, who as u32));
            events.push((visit.until.max(visit.from + TICK), false, who as u32));
        }
        // At the same time, departures precede arrivals.
        let order = |event: &(f64, bool, u32)| (event.1, event.2);
        events.sort_by(|a, b| a.0.total_cmp(&b.0).then_with(|| order(a).cmp(&order(b))));
        let mut ends = vec![(0, 0); visits.len()];
        let mut others = vec![0.0; visits.len()];
        let mut between = Vec::with_capacity(events.len());
        let (mut there, mut density, mut variance) = (0.0_f64, 0.0_f64, 0.0_f64);
        for (index, (at, comes, who)) in events.iter().enumerate() {
            let visit = &visits[*who as usize];
            let spread = visit.density * (1.0 - visit.density);
            let sign = if *comes { 1.0 } else { -1.0 };
            if *comes {
                others[*who as usize] = density.max(0.0);
                ends[*who as usize].0 = index as u32;
            } else {
                ends[*who as usize].1 = index as u32;
            }
            there += sign;
            density += sign * visit.density;
            variance += sign * spread;
            // Each hold meets the others, but not itself.
            let part = ((there - 1.0) / there.max(1.0)).max(0.0);
            let next = events.get(index + 1).map_or(*at, |event| event.0);
            between.push(Between {
                seconds: next - at,
                others: (density * part).max(0.0),
                spread: (variance * part).max(0.0).sqrt(),
            });
        }
        Self {
            checkouts,
            visits,
            between,
            ends,
            others,
        }
    }

    /// Returns the largest number of others that any hold met.
    pub(crate) fn most_others(&self) -> f64 {
        self.others.iter().copied().fold(0.0, f64::max)
    }

    /// Returns the work if holds do not slow each other down.
    pub(crate) fn free(&self) -> Vec<Work> {
        self.work(|_, visit| visit.density * visit.length())
    }

    /// Returns the work if the holds at the station share this many processors.
    pub(crate) fn shared(&self, processors: f64) -> Vec<Work> {
        let speed = |others: f64| (processors / (1.0 + others.max(0.0))).min(1.0);
        let mut done = Vec::with_capacity(self.between.len() + 1);
        let mut sum = 0.0;
        done.push(sum);
        for between in &self.between {
            let (mean, spread) = (between.others, 3_f64.sqrt() * between.spread);
            // Three-point Gauss-Hermite quadrature.
            let mean_speed =
                (speed(mean - spread) + 4.0 * speed(mean) + speed(mean + spread)) / 6.0;
            sum += between.seconds * mean_speed;
            done.push(sum);
        }
        self.work(|who, visit| {
            let (from, until) = self.ends[who];
            visit.density * (done[until as usize] - done[from as usize])
        })
    }

    /// Returns the work if one hold at a time uses the station, in the order of departure.
    pub(crate) fn locked(&self) -> Vec<Work> {
        let mut order: Vec<usize> = (0..self.visits.len()).collect();
        order.sort_by(|a, b| self.visits[*a].until.total_cmp(&self.visits[*b].until));
        let mut inside = vec![0.0; self.visits.len()];
        let mut free_since = f64::NEG_INFINITY;
        for who in order {
            let visit = &self.visits[who];
            if visit.density <= 0.0 {
                continue;
            }
            inside[who] = visit.until - visit.from.max(free_since);
            free_since = visit.until;
        }
        self.work(|who, _| inside[who])
    }

    fn work(&self, inside: impl Fn(usize, &Visit) -> f64) -> Vec<Work> {
        let visits = self.checkouts.iter().zip(&self.visits).enumerate();
        visits
            .map(|(who, (checkout, visit))| {
                visit.work(checkout, inside(who, visit), self.others[who])
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::advice::model::random::Random;
    use crate::advice::model::simulator::{Arrival, Arrivals, Pool, Station};
    use crate::advice::model::trace::Queries;

    /// Returns random holds of a pool that is large enough for concurrency, and the true work of each.
    fn holds(station: Station) -> (Vec<Checkout>, Vec<Job>) {
        let mut random = Random::new(1);
        let mut now = 0.0;
        let arrivals: Vec<Arrival> = (0..3000)
            .map(|_| {
                now += random.exponential(0.0025);
                Arrival::At(now)
            })
            .collect();
        let jobs: Vec<Job> = arrivals
            .iter()
            .map(|_| Job {
                before: random.exponential(0.004),
                inside: 2e-6 + random.exponential(0.002),
                after: random.exponential(0.003),
            })
            .collect();
        let pool = Pool {
            connections: 8,
            station,
            handover: 0.0,
        };
        let passages = pool.run(&jobs, Arrivals::Open(&arrivals));
        let checkouts = passages.iter().map(|it| Checkout {
            asked: it.asked,
            granted: it.granted,
            returned: it.returned,
            queries: Some(Queries {
                first: it.came,
                last: it.left,
                busy: it.left - it.came,
            }),
            request: 0,
            place: 0,
            size: 8,
        });
        let jobs = passages.iter().map(|it| jobs[it.job]).collect();
        (checkouts.collect(), jobs)
    }

    #[track_caller]
    fn assert_recovers(works: &[Work], jobs: &[Job]) {
        assert_eq!(works.len(), jobs.len());
        for (work, job) in works.iter().zip(jobs) {
            for (found, expected) in [
                (work.job.before, job.before),
                (work.job.inside, job.inside),
                (work.job.after, job.after),
            ] {
                assert!((found - expected).abs() < 1e-7, "{work:?} of {job:?}");
            }
        }
    }

    #[test]
    fn undoing_a_lock_recovers_the_work() {
        let (checkouts, jobs) = holds(Station::Lock);
        let all: Vec<&Checkout> = checkouts.iter().collect();
        let line = |share| Timeline::new(&all, move |checkout| Visit::section(checkout, share));
        // There is no time between the queries.
        for share in [0.0, 1.0] {
            assert_recovers(&line(share).locked(), &jobs);
        }
        let waited = line(0.0).free();
        let longer = waited
            .iter()
            .zip(&jobs)
            .filter(|(work, job)| work.job.inside > 1.5 * job.inside);
        assert!(
            longer.count() > jobs.len() / 4,
            "holds slowed each other down"
        );
        assert!(line(0.0).most_others() >= 3.0);
    }

    #[test]
    fn undoing_shared_processors_recovers_the_work() {
        for processors in [1.0, 1.5, 2.0] {
            let (checkouts, jobs) = holds(Station::Shared(processors));
            let all: Vec<&Checkout> = checkouts.iter().collect();
            let line = Timeline::new(&all, Visit::queries);
            assert_recovers(&line.shared(processors), &jobs);
            // With more processors, the same times would mean more work.
            let more = line.shared(processors + 1.0);
            assert!(
                more.iter()
                    .zip(&jobs)
                    .all(|(work, job)| work.job.inside >= job.inside - 1e-7)
            );
        }
    }

    #[test]
    fn independent_holds_are_unchanged() {
        let (checkouts, jobs) = holds(Station::Free);
        let all: Vec<&Checkout> = checkouts.iter().collect();
        let line = |visit: fn(&Checkout) -> Visit| Timeline::new(&all, visit);
        assert_recovers(&line(Visit::queries).free(), &jobs);
        for works in [
            line(Visit::hold).free(),
            line(Visit::outside).free(),
            line(Visit::queries).shared(100.0),
        ] {
            for (work, checkout) in works.iter().zip(&checkouts) {
                assert!(
                    (work.job.whole() - checkout.held()).abs() < 2e-6,
                    "{work:?}"
                );
            }
        }
        let outside = line(Visit::outside).free();
        let outside = outside.iter().zip(&jobs);
        for (work, job) in outside {
            assert!((work.job.inside - job.before - job.after).abs() < 1e-7);
        }
    }

    #[test]
    fn a_lock_held_between_queries_has_the_given_length() {
        let checkout = |granted: f64| Checkout {
            asked: granted,
            granted,
            returned: granted + 0.010,
            queries: Some(Queries {
                first: granted + 0.001,
                last: granted + 0.009,
                busy: 0.002,
            }),
            request: 0,
            place: 0,
            size: 8,
        };
        let one = checkout(1.0);
        for (share, inside) in [(0.0, 0.002), (0.5, 0.005), (1.0, 0.008)] {
            let works = Timeline::new(&[&one], |it| Visit::section(it, share)).locked();
            assert!((works[0].job.inside - inside).abs() < 1e-9, "{works:?}");
            assert!((works[0].job.after - 0.001).abs() < 1e-9);
            assert!((works[0].job.whole() - 0.010).abs() < 1e-9);
        }
        // Another hold that queries for a quarter of the time counts as a quarter.
        let other = checkout(1.0);
        let works = Timeline::new(&[&one, &other], Visit::queries).free();
        assert_eq!(works[0].others, 0.0);
        assert!((works[1].others - 0.25).abs() < 1e-9, "{works:?}");
    }
}
