//! The last events of a pool, as text.

use serde::Serialize;

use super::PageClock;
use crate::record::events::Event;
use crate::record::recorder::Recorder;
use crate::report::timings::lasting;

/// An event, with its kind for the reader of the page's data.
#[derive(Debug, Serialize)]
pub(super) struct EventReport {
    at: f64,
    kind: &'static str,
    text: String,
}

/// Returns the last events, the oldest first.
pub(super) fn read(recorder: &Recorder, clock: PageClock, source_lines: bool) -> Vec<EventReport> {
    let events = recorder.state().events.read();
    let threshold = recorder.leaks.threshold.unwrap_or_default().as_secs_f64();
    let report = |(at, event): (u64, Event)| {
        let (kind, text) = match event {
            Event::TimedOut(1) => ("timeouts", "a checkout timed out".to_owned()),
            Event::TimedOut(number) => ("timeouts", format!("{number} checkouts timed out")),
            Event::Resized(size) => (
                "resized",
                format!(
                    "pool resized: {} connections, at most {}",
                    size.pool_size, size.max_connections
                ),
            ),
            Event::OutageBegan(kind) => (
                "outage_began",
                format!("the database can't be reached: {}", kind.as_str()),
            ),
            Event::OutageEnded => ("outage_ended", "connections can be opened again".to_owned()),
            Event::Leaked(site) => (
                "leak",
                format!(
                    "held for more than {}: {}",
                    lasting(threshold),
                    site.shown(source_lines).name()
                ),
            ),
            Event::Suspended => ("suspended", "pool suspended".to_owned()),
            Event::Resumed => ("resumed", "pool resumed".to_owned()),
            Event::Invalidated(error, number) => (
                "invalidated",
                format!(
                    "{number} connections invalidated: {} {}",
                    error.code, error.name
                ),
            ),
            Event::Closed => ("closed", "pool closed".to_owned()),
        };
        EventReport {
            at: clock.unix(at),
            kind,
            text,
        }
    };
    events.into_iter().map(report).collect()
}
