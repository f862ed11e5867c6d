//! Shares of the connection time and of the query time.

use std::collections::HashMap;

use crate::record::recorder::Recorder;
use crate::record::usage::HIDDEN;
use crate::report::call_sites::name;
use crate::report::timings::round;

/// The number of entries in a report.
pub(super) const NAMED: usize = 10;

/// Returns the names of all call sites, by their numbers in the record.
pub(super) fn places(recorder: &Recorder, source_lines: bool) -> HashMap<u16, String> {
    let places = recorder.state().usage.places();
    let named = places.into_iter().map(|(number, site)| {
        let caller = if source_lines { &*site.caller } else { HIDDEN };
        (number, name(site.route.as_deref(), caller, site.label))
    });
    named.collect()
}

/// Returns `part` in percent of `all`; 0 if `all` is 0.
pub(super) fn share(part: f64, all: f64) -> f64 {
    if all > 0.0 {
        round(part / all * 100.0, 1)
    } else {
        0.0
    }
}
