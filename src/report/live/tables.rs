//! The call sites and the statements by time, and the settings in force.

use serde::Serialize;

use crate::record::recorder::Recorder;
use crate::report::StatementShare;
use crate::report::call_sites::CallSite;
use crate::report::source::SourceFacts;
use crate::settings::Settings;

/// The number of call sites in a snapshot.
const NAMED: usize = 20;

/// The use of connections by one call site within the last five minutes; times are means of one hold.
#[derive(Debug, Serialize)]
pub(super) struct SiteUse {
    route: Option<String>,
    label: Option<&'static str>,
    caller: Option<String>,
    checkouts: u64,
    held_seconds: f64,
    busy_seconds: Option<f64>,
    /// Its share of the time that all connections were held, from 0 to 1.
    share: f64,
}

impl SiteUse {
    /// Returns the call sites that held connections longest.
    pub(super) fn read(recorder: &Recorder, source_lines: bool) -> Vec<Self> {
        let (mut sites, _) = CallSite::read(recorder, source_lines);
        sites.truncate(NAMED);
        let report = |site: CallSite| Self {
            route: site.route,
            label: site.label,
            caller: source_lines.then_some(site.caller),
            checkouts: site.checkouts,
            held_seconds: site.mean_held_ms / 1e3,
            busy_seconds: site.mean_busy_ms.map(|millis| millis / 1e3),
            share: site.share_of_held_pct / 100.0,
        };
        sites.into_iter().map(report).collect()
    }
}

/// The time of one statement within the last five minutes.
#[derive(Debug, Serialize)]
pub(super) struct StatementUse {
    statement: String,
    calls: u64,
    seconds: f64,
    mean_seconds: f64,
    share: f64,
}

impl StatementUse {
    /// Returns the statements that took most time.
    pub(super) fn read(recorder: &Recorder, query_text: bool) -> Vec<Self> {
        let report = |share: StatementShare| Self {
            statement: share.statement,
            calls: share.executions,
            seconds: share.seconds,
            mean_seconds: share.mean_ms / 1e3,
            share: share.share_pct / 100.0,
        };
        let all = StatementShare::read(recorder, query_text);
        all.into_iter().map(report).collect()
    }
}

/// A setting, as it is in force.
#[derive(Debug, Serialize)]
pub(super) struct SettingInForce {
    name: &'static str,
    value: String,
    is_default: bool,
}

impl SettingInForce {
    /// Returns the settings of a pool. An existing pool has only what bb8 shows.
    pub(super) fn all(facts: &SourceFacts) -> Vec<Self> {
        let seconds = |seconds: Option<f64>| seconds.map(|seconds| format!("{seconds}s"));
        let known = &facts.configuration;
        if !facts.overflows {
            let rows = [
                ("max_size", Some(known.pool_size.to_string())),
                ("connection_timeout", seconds(known.pool_timeout)),
                (
                    "max_lifetime",
                    seconds(known.pool_recycle.filter(|age| *age >= 0.0)),
                ),
                (
                    "test_on_check_out",
                    known.pool_pre_ping.map(|it| it.to_string()),
                ),
            ];
            let rows = rows.into_iter().filter_map(|(name, value)| {
                Some(Self {
                    name,
                    value: value?,
                    is_default: false,
                })
            });
            return rows.collect();
        }
        let mut settings = Settings::clone(&facts.settings);
        // Both may have been changed since.
        settings.pool_size = known.pool_size;
        settings.max_overflow = known.max_overflow;
        let shown = settings.in_force().into_iter();
        shown
            .map(|(name, value, is_default)| Self {
                name,
                value,
                is_default,
            })
            .collect()
    }
}
