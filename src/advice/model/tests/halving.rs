//! Blame is causal: halving the holds of the call site that owes most helps more than halving those of any
//! other, by the amount that the replay predicts.

use super::loads::{Coming, Hold, Load, Seen, Time};
use crate::advice::model::Model;
use crate::advice::model::random::Random;
use crate::advice::model::simulator::{Passage, Station};
use crate::record::blame::{Blame, Mark, Owed};

const MIXES: u64 = 20;
const ROUTES: usize = 3;
/// Checkouts of one mix.
const CHECKOUTS: f64 = 12_000.0;

/// A random mix of three routes, each with a kind of hold and a frequency.
#[derive(Debug)]
struct Mix {
    connections: u32,
    /// The holds of each route, and how many parts of the checkouts it has.
    routes: [(Time, usize); ROUTES],
    rate: f64,
}

impl Mix {
    fn random(seed: u64) -> Self {
        let mut random = Random::new(seed);
        let connections = 2 + random.below(9) as u32;
        let routes = [(); ROUTES].map(|()| {
            // From 5 ms to 100 ms.
            let mean = 0.005 * 20_f64.powf(random.uniform());
            let time = match random.below(3) {
                0 => Time::Exponential(mean),
                1 => Time::Steady(mean),
                _ => Time::HeavyTailed(mean, 0.8),
            };
            (time, 1 + random.below(4))
        });
        let parts: usize = routes.iter().map(|(_, parts)| parts).sum();
        let works = routes
            .iter()
            .map(|(time, parts)| mean(*time) * *parts as f64);
        let held = works.sum::<f64>() / parts as f64;
        let utilization = 0.75 + 0.17 * random.uniform();
        Self {
            connections,
            routes,
            rate: utilization * f64::from(connections) / held,
        }
    }

    /// Runs the mix, with the holds of one route half as long. The arrivals are the same each time.
    fn run(&self, halved: Option<usize>, seed: u64) -> Seen {
        let holds = self.routes.iter().enumerate();
        let holds = holds.flat_map(|(route, (time, parts))| {
            let factor = if halved == Some(route) { 0.5 } else { 1.0 };
            let hold = Hold::new(Time::Steady(0.0), times(*time, factor));
            std::iter::repeat_n(hold, *parts)
        });
        let load = Load {
            holds: holds.collect(),
            ..Load::new(
                Coming::Poisson(self.rate),
                Hold::new(Time::Steady(0.0), Time::Steady(0.0)),
                Station::Free,
                CHECKOUTS / self.rate,
            )
        };
        load.run(self.connections, seed)
    }

    /// Returns the call sites of a route.
    fn places(&self, route: usize) -> Vec<u16> {
        let parts = |routes: &[(Time, usize)]| routes.iter().map(|it| it.1 as u16).sum::<u16>();
        (parts(&self.routes[..route])..parts(&self.routes[..=route])).collect()
    }
}

fn mean(time: Time) -> f64 {
    match time {
        Time::Exponential(mean)
        | Time::Steady(mean)
        | Time::TenthSlow(mean)
        | Time::HeavyTailed(mean, _) => mean,
    }
}

fn times(time: Time, factor: f64) -> Time {
    match time {
        Time::Exponential(mean) => Time::Exponential(mean * factor),
        Time::Steady(mean) => Time::Steady(mean * factor),
        Time::TenthSlow(mean) => Time::TenthSlow(mean * factor),
        Time::HeavyTailed(mean, sigma) => Time::HeavyTailed(mean * factor, sigma),
    }
}

/// Returns what the holds of each call site owe.
fn owed(passages: &[(u16, Passage)]) -> Vec<Owed> {
    #[derive(PartialEq, Eq, PartialOrd, Ord)]
    enum Event {
        Asked,
        Granted,
        Returned,
    }
    let nanos = |seconds: f64| (seconds * 1e9) as u64;
    let mut events = Vec::with_capacity(3 * passages.len());
    for (index, (_, passage)) in passages.iter().enumerate() {
        events.push((nanos(passage.asked), Event::Asked, index));
        events.push((nanos(passage.granted), Event::Granted, index));
        events.push((nanos(passage.returned), Event::Returned, index));
    }
    events.sort();
    let most = passages.iter().map(|(place, _)| *place).max();
    let mut owed = vec![Owed::ZERO; usize::from(most.unwrap_or_default()) + 1];
    let mut marks = vec![Mark::default(); passages.len()];
    let mut blame = Blame::default();
    let (mut queued, mut out) = (0, 0);
    for (now, event, index) in events {
        blame.advance(now);
        match event {
            Event::Asked => queued += 1,
            Event::Granted => {
                (queued, out) = (queued - 1, out + 1);
                marks[index] = blame.mark();
            }
            Event::Returned => {
                out -= 1;
                let place = usize::from(passages[index].0);
                owed[place] += blame.mark().owed - marks[index].owed;
            }
        }
        blame.set(now, queued, out);
    }
    owed
}

#[test]
fn halving_the_most_blamed_holds_helps_most_and_as_predicted() {
    let (mut right, mut exact) = (0, 0);
    for seed in 0..MIXES {
        let mix = Mix::random(seed);
        let before = mix.run(None, seed);
        let waited = |seen: &Seen| seen.waits.iter().sum::<f64>();
        let after = [0, 1, 2].map(|route| waited(&mix.run(Some(route), seed)));

        let by_place = owed(&before.passages);
        let all: f64 = by_place.iter().map(|it| it.seconds()).sum();
        assert!((all / waited(&before) - 1.0).abs() < 1e-6, "{all}");
        let of = |route: usize| {
            let places = mix.places(route);
            let owed = places
                .iter()
                .filter_map(|place| by_place.get(usize::from(*place)));
            owed.map(|it| it.seconds()).sum::<f64>()
        };
        let owed = [0, 1, 2].map(of);
        let first =
            |values: [f64; ROUTES]| (0..ROUTES).max_by(|a, b| values[*a].total_cmp(&values[*b]));
        let most = first(owed).unwrap();
        let best = first(after.map(|waited| -waited)).unwrap();

        let model = Model::learn(&before.trace).expect("enough data");
        let now = model.at(mix.connections, 1.0).mean;
        let halved = model.halved(&mix.places(most), mix.connections, 1.0).mean;
        let (predicted, was) = (1.0 - halved / now, 1.0 - after[most] / waited(&before));
        right += u64::from(most == best);
        exact += u64::from((predicted - was).abs() <= 0.25 * was);
        println!(
            "{seed:2}: {} connections, owed {owed:.1?} s, left when halved {after:.1?} s; cut predicted {:.1} %, was {:.1} %{}",
            mix.connections,
            predicted * 100.0,
            was * 100.0,
            if most == best {
                ""
            } else {
                "; another was better"
            }
        );
    }
    assert!(
        right * 10 >= MIXES * 9,
        "{right} of {MIXES} named the right route"
    );
    assert!(exact * 10 >= MIXES * 9, "{exact} of {MIXES} as predicted");
}
