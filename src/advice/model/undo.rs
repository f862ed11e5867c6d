//! Takes out of each hold what holds did to each other, under a hypothesis about where.

use super::trace::Checkout;

/// Time that a hold spends where others may be in its way.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Visit {
    pub(crate) from: f64,
    pub(crate) until: f64,
    /// The share of this time in which it uses what is there.
    pub(crate) density: f64,
}

/// What a hold does: the work it has at the station, alone there, and the rest.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct Work {
    pub(crate) inside: f64,
    pub(crate) before: f64,
    pub(crate) after: f64,
    /// Others that were at the station when it came, by their densities.
    pub(crate) others: f64,
}

impl Work {
    /// The hold, if nobody was in its way.
    pub(crate) fn whole(&self) -> f64 {
        self.before + self.inside + self.after
    }
}

/// No work is shorter, in seconds.
const LEAST: f64 = 1e-7;

/// No visit is shorter, in seconds: the record's clock ticks in microseconds.
const TICK: f64 = 1e-6;

impl Visit {
    /// All of it.
    pub(crate) fn hold(checkout: &Checkout) -> Self {
        Self {
            from: checkout.granted,
            until: checkout.returned,
            density: 1.0,
        }
    }

    /// The queries, from the first to the last.
    pub(crate) fn queries(checkout: &Checkout) -> Self {
        let queries = checkout.queries();
        let length = queries.last - queries.first;
        Self {
            from: queries.first,
            until: queries.last,
            density: share(queries.busy, length),
        }
    }

    /// The time between queries, anywhere in the hold.
    pub(crate) fn outside(checkout: &Checkout) -> Self {
        Self {
            from: checkout.granted,
            until: checkout.returned,
            density: 1.0 - share(checkout.queries().busy, checkout.held()),
        }
    }

    /// A section that ends with the last query: as long as the queries took, and this share of the
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

    /// The work of the hold, if this much of it is inside.
    fn work(&self, checkout: &Checkout, inside: f64, others: f64) -> Work {
        let outside = (checkout.held() - self.density * self.length()).max(0.0);
        let after = (checkout.returned - self.until).clamp(0.0, outside);
        let least = if self.density > 0.0 { LEAST } else { 0.0 };
        Work {
            inside: inside.max(least),
            before: outside - after,
            after,
            others,
        }
    }
}

fn share(part: f64, of: f64) -> f64 {
    if of > 0.0 {
        (part / of).clamp(0.0, 1.0)
    } else {
        1.0
    }
}

/// Visits of one run on a line of time.
pub(crate) struct Timeline<'a> {
    checkouts: Vec<&'a Checkout>,
    visits: Vec<Visit>,
    /// Time from one event to the next, and who is there in between.
    between: Vec<Between>,
    /// The events with which each visit begins and ends.
    ends: Vec<(u32, u32)>,
    others: Vec<f64>,
}

#[derive(Debug, Clone, Copy)]
struct Between {
    seconds: f64,
    /// Expected others for one of those who are there, and the standard deviation of their number.
    others: f64,
    spread: f64,
}

impl<'a> Timeline<'a> {
    pub(crate) fn new(checkouts: Vec<&'a Checkout>, visit: impl Fn(&Checkout) -> Visit) -> Self {
        let visits: Vec<Visit> = checkouts.iter().map(|checkout| visit(checkout)).collect();
        let mut events: Vec<(f64, bool, u32)> = Vec::with_capacity(2 * visits.len());
        for (who, visit) in visits.iter().enumerate() {
            events.push((visit.from, true, who as u32));
            events.push((visit.until.max(visit.from + TICK), false, who as u32));
        }
        // Who leaves at a moment is gone when another comes at the same one.
        events.sort_by(|a, b| {
            a.0.total_cmp(&b.0)
                .then_with(|| a.1.cmp(&b.1))
                .then_with(|| a.2.cmp(&b.2))
        });
        let mut ends = vec![(0, 0); visits.len()];
        let mut others = vec![0.0; visits.len()];
        let mut between = Vec::with_capacity(events.len());
        let (mut there, mut density, mut variance) = (0.0_f64, 0.0_f64, 0.0_f64);
        for (index, (at, comes, who)) in events.iter().enumerate() {
            let visit = &visits[*who as usize];
            let (d, v) = (visit.density, visit.density * (1.0 - visit.density));
            if *comes {
                others[*who as usize] = density.max(0.0);
                ends[*who as usize].0 = index as u32;
                (there, density, variance) = (there + 1.0, density + d, variance + v);
            } else {
                ends[*who as usize].1 = index as u32;
                (there, density, variance) = (there - 1.0, density - d, variance - v);
            }
            let part = if there > 0.5 {
                (there - 1.0) / there
            } else {
                0.0
            };
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

    /// The most others that anybody met.
    pub(crate) fn most_others(&self) -> f64 {
        self.others.iter().copied().fold(0.0, f64::max)
    }

    /// If nothing is in anybody's way.
    pub(crate) fn free(&self) -> Vec<Work> {
        self.work(|_, visit| visit.density * visit.length())
    }

    /// If those who are there share this many processors.
    pub(crate) fn shared(&self, processors: f64) -> Vec<Work> {
        let speed = |others: f64| (processors / (1.0 + others.max(0.0))).min(1.0);
        let mut done = Vec::with_capacity(self.between.len() + 1);
        let mut sum = 0.0;
        done.push(sum);
        for between in &self.between {
            let (mean, spread) = (between.others, 3_f64.sqrt() * between.spread);
            // Gauss and Hermite's three points.
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

    /// If one after the other has it, in the order in which they leave.
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
