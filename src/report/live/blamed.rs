//! Whose holds made checkouts queue, and whose checkouts these were.

use std::collections::HashMap;

use serde::Serialize;

use super::places::Places;
use crate::record::blame::Owed;
use crate::record::blamed::Owing;
use crate::record::debt::{Debt, Over};
use crate::record::recorder::Recorder;
use crate::report::timings::round;

/// The number of places in a window, and of victims of a place.
const PLACES: usize = 10;
const VICTIMS: usize = 5;

/// The places whose holds owe most, by window.
#[derive(Debug, Serialize)]
pub(super) struct Blamed {
    last_minute: Vec<BlamedPlace>,
    last_5_minutes: Vec<BlamedPlace>,
    since_start: Vec<BlamedPlace>,
}

/// What the holds of one place owe.
#[derive(Debug, Serialize)]
struct BlamedPlace {
    place: usize,
    blamed_seconds: f64,
    /// The part of it while the database did nothing for these holds; `null` if that is not measured.
    avoidable_seconds: Option<f64>,
    /// Its share of the time that all checkouts have queued, from 0 to 1.
    share: f64,
    /// Who waited, by the waits that were slow or failed.
    victims: Vec<Victim>,
}

#[derive(Debug, Serialize)]
struct Victim {
    place: usize,
    seconds: f64,
}

impl Blamed {
    pub(super) fn read(recorder: &Recorder, places: &mut Places) -> Self {
        let windows = [Over::Minute, Over::FiveMinutes, Over::Life];
        let [last_minute, last_5_minutes, since_start] =
            recorder.owing(windows).map(|owing| window(owing, places));
        Self {
            last_minute,
            last_5_minutes,
            since_start,
        }
    }
}

fn window(owing: Owing, places: &mut Places) -> Vec<BlamedPlace> {
    let queued = owing.queued().seconds();
    let mut blamed: HashMap<_, Debt> = HashMap::new();
    for (site, debt) in owing.sites {
        if debt.owed > Owed::ZERO {
            *blamed.entry(places.add(site)).or_default() += debt;
        }
    }
    let mut victims: HashMap<_, HashMap<_, Owed>> = HashMap::new();
    for ((waiting, holding), owed) in owing.pairs {
        let of_place = victims.entry(places.add(holding)).or_default();
        *of_place.entry(places.add(waiting)).or_default() += owed;
    }
    let mut blamed: Vec<_> = blamed.into_iter().collect();
    blamed.sort_by_key(|(place, debt)| (std::cmp::Reverse(debt.owed), *place));
    let most = blamed.into_iter().take(PLACES);
    most.map(|(place, debt)| {
        let owed = debt.owed.seconds();
        let mut victims: Vec<_> = victims.remove(&place).into_iter().flatten().collect();
        victims.sort_by_key(|(place, owed)| (std::cmp::Reverse(*owed), *place));
        let victims = victims.into_iter().take(VICTIMS);
        BlamedPlace {
            place,
            blamed_seconds: precise(owed),
            avoidable_seconds: debt.idle_share().map(|share| precise(owed * share)),
            share: round(owed / queued, 4),
            victims: victims
                .map(|(place, owed)| Victim {
                    place,
                    seconds: precise(owed.seconds()),
                })
                .collect(),
        }
    })
    .collect()
}

/// Rounds to microseconds, because many short waits are as bad as a long one.
fn precise(seconds: f64) -> f64 {
    round(seconds, 6)
}
