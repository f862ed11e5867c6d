//! The connections with their holds, and the checkouts that wait.

use std::collections::BTreeMap;

use serde::Serialize;

use super::places::Places;
use super::{Extent, PageClock};
use crate::backend::SessionState;
use crate::checkout::ConnectionFacts;
use crate::checkout::wait_phase::Phase;
use crate::record::blame::Owed;
use crate::record::clock::{self, SECOND};
use crate::record::culprits::PastHold;
use crate::record::ledger::Holder;
use crate::record::recorder::{PoolState, Recorder};
use crate::record::usage::Site;
use crate::record::waiters::Waiter;
use crate::report::source::SourceFacts;
use crate::report::timings::{round, seconds};

/// The most waiting checkouts in a snapshot, and the most holds that have ended.
const WAITERS: usize = 200;
const ENDED: usize = 400;

/// The connections with their holds, and the checkouts that wait.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Lanes {
    connections: Vec<ConnectionReport>,
    /// Those under way, the longest first; then those that have ended, the latest first, at most [`ENDED`].
    pub(crate) holds: Vec<HoldReport>,
    /// Those that have waited longest, at most [`WAITERS`].
    waiters: Vec<WaiterReport>,
}

/// An open connection.
#[derive(Debug, Serialize)]
struct ConnectionReport {
    id: u64,
    opened_at: Option<f64>,
    pid: Option<u64>,
}

/// A hold of a connection.
#[derive(Debug, Serialize)]
pub(crate) struct HoldReport {
    pub(crate) connection: u64,
    pub(crate) place: usize,
    from: f64,
    /// `null` while it lasts.
    pub(crate) to: Option<f64>,
    #[serde(skip)]
    pub(crate) held_seconds: f64,
    busy_seconds: Option<f64>,
    /// What the connection does now; `null` if that is unknown, and after the hold.
    pub(crate) state: Option<&'static str>,
    /// The summary of the last query; `null` after the hold.
    pub(crate) query: Option<String>,
    blamed_seconds: Option<f64>,
}

/// A checkout that waits.
#[derive(Debug, Serialize)]
struct WaiterReport {
    place: usize,
    since: f64,
    phase: Option<&'static str>,
}

/// Copies of the record, so that checkouts do not wait while these become a report.
struct Seen {
    /// The current holders with their keys, and what each owes.
    holders: Vec<(u32, Holder, Owed)>,
    ended: Vec<(PastHold, Site)>,
    waiters: Vec<(Waiter, Site)>,
}

impl Seen {
    fn read(recorder: &Recorder, now: u64, since: u64) -> Self {
        let mut state = recorder.state();
        state.owe(now);
        let owed = state.blame.mark().owed;
        let PoolState {
            ledger,
            usage,
            past_holds,
            ..
        } = &mut *state;
        let holders = ledger.holders.iter_with_keys();
        let holders = holders.map(|(key, holder)| {
            let owed = owed.since(holder.mark.owed);
            (key, holder.clone(), owed)
        });
        let mut waiters: Vec<_> = ledger.waiters.iter().copied().collect();
        if waiters.len() > WAITERS {
            waiters.select_nth_unstable_by_key(WAITERS, |waiter| waiter.since);
            waiters.truncate(WAITERS);
        }
        let waiters = waiters.into_iter();
        let ended = past_holds.watch(now);
        let ended = ended.take_while(|hold| hold.until >= since).take(ENDED);
        Self {
            holders: holders.collect(),
            ended: ended
                .map(|hold| (*hold, usage.site(hold.site).clone()))
                .collect(),
            waiters: waiters
                .map(|waiter| (waiter, usage.site(waiter.site).clone()))
                .collect(),
        }
    }
}

impl Lanes {
    pub(super) fn read(
        recorder: &Recorder,
        clock: PageClock,
        facts: &SourceFacts,
        extent: Extent,
        places: &mut Places,
    ) -> Self {
        let since = match extent {
            Extent::Latest => 5 * SECOND,
            Extent::Whole => 30 * SECOND,
        };
        let mut seen = Seen::read(recorder, clock.now, clock.now.saturating_sub(since));
        seen.holders.sort_by_key(|(_, holder, _)| holder.at);
        seen.waiters.sort_by_key(|(waiter, _)| waiter.since);

        let mut open: BTreeMap<_, _> = facts
            .connections
            .iter()
            .flatten()
            .filter_map(|facts| Some((facts.number()?, known(&**facts, clock))))
            .collect();
        let mut holds = Vec::with_capacity(seen.holders.len() + seen.ended.len());
        for (key, holder, owed) in &seen.holders {
            // A pool that does not number its connections has a lane for each that is in use at once.
            let number = holder.connection().unwrap_or_else(|| u64::from(*key));
            let facts = holder.facts.as_deref();
            open.entry(number)
                .or_insert_with(|| facts.map_or_else(Known::default, |it| known(it, clock)));
            let place = places.add(Site::new(holder.checkout, holder.route()));
            holds.push(HoldReport::current(holder, *owed, number, place, clock));
        }
        for (hold, site) in seen.ended {
            if let Some(number) = hold.connection {
                open.entry(number).or_default();
                holds.push(HoldReport::ended(&hold, number, places.add(site), clock));
            }
        }
        let waiters = seen.waiters.into_iter();
        let waiters = waiters.map(|(waiter, site)| WaiterReport {
            place: places.add(site),
            since: clock.unix(recorder.clock.at(waiter.since)),
            phase: waiter.phase().map(Phase::as_str),
        });
        let waiters = waiters.collect();
        let connections = open.into_iter();
        let connections =
            connections.map(|(id, (opened_at, pid))| ConnectionReport { id, opened_at, pid });
        Self {
            connections: connections.collect(),
            holds,
            waiters,
        }
    }
}

/// When a connection was opened, and the server's id of its session.
type Known = (Option<f64>, Option<u64>);

fn known(facts: &dyn ConnectionFacts, clock: PageClock) -> Known {
    let opened = facts.age().map(|age| {
        let began = clock.began + clock::seconds(clock.now) - age.as_secs_f64();
        round(began, 3)
    });
    (opened, facts.process_id())
}

impl HoldReport {
    fn current(
        holder: &Holder,
        owed: Owed,
        connection: u64,
        place: usize,
        clock: PageClock,
    ) -> Self {
        Self {
            connection,
            place,
            from: clock.unix(holder.at),
            to: None,
            held_seconds: clock::seconds(clock.now.saturating_sub(holder.at)),
            busy_seconds: holder.busy().map(seconds),
            state: holder.state().and_then(|state| match state {
                SessionState::Active => Some("querying"),
                SessionState::Idle => Some("idle"),
                SessionState::IdleInTransaction => Some("idle_in_transaction"),
                SessionState::IdleUnknown | SessionState::Other => None,
            }),
            query: holder.facts.as_ref().and_then(|facts| facts.last_query()),
            blamed_seconds: blamed(owed),
        }
    }

    fn ended(hold: &PastHold, connection: u64, place: usize, clock: PageClock) -> Self {
        Self {
            connection,
            place,
            from: clock.unix(hold.from),
            to: Some(clock.unix(hold.until)),
            held_seconds: clock::seconds(hold.until.saturating_sub(hold.from)),
            busy_seconds: hold.busy.map(seconds),
            state: None,
            query: None,
            blamed_seconds: blamed(hold.owed),
        }
    }
}

/// Rounds to microseconds.
fn blamed(owed: Owed) -> Option<f64> {
    Some(round(owed.seconds(), 6))
}
