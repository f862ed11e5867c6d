//! Everything that the `OTEL_*` variables say, or everything that is wrong with them.

use std::ffi::OsString;
use std::time::Duration;

use opentelemetry_sdk::Resource;
use opentelemetry_sdk::metrics::Temporality;
use opentelemetry_sdk::trace::Sampler;
use tracing_subscriber::EnvFilter;

use super::destination::Destination;
use super::resource;
use super::variables::{Set, Variables};
use crate::exports::Signal;
use crate::settings::SettingsError;

/// What a set-up is made by.
#[derive(Debug)]
pub(super) struct Settings {
    pub(super) traces: Option<(Destination, Queue, Sampler)>,
    pub(super) metrics: Option<(Destination, Intervals, Temporality)>,
    pub(super) logs: Option<(Destination, Queue)>,
    pub(super) resource: Resource,
    pub(super) propagators: Propagators,
    /// `RUST_LOG`: what is logged.
    pub(super) filter: String,
}

/// The queue of spans or log records before they are sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Queue {
    pub(super) size: usize,
    pub(super) batch: usize,
    pub(super) delay: Duration,
    /// The most that one export may take, whatever the exporter's own timeout.
    pub(super) timeout: Duration,
}

/// When metrics are sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Intervals {
    pub(super) interval: Duration,
    pub(super) timeout: Duration,
}

/// What is read from the headers of a request, and written to those of others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Propagators {
    pub(super) trace_context: bool,
    pub(super) baggage: bool,
    /// Whether somebody has asked for them, rather than just for an export.
    pub(super) asked_for: bool,
}

impl Settings {
    pub(super) fn read(lookup: &dyn Fn(&str) -> Option<OsString>) -> Result<Self, SettingsError> {
        let mut variables = Variables::new(lookup);
        let disabled = variables.flag("OTEL_SDK_DISABLED");
        let traces = Destination::read(Signal::Traces, &mut variables);
        let metrics = Destination::read(Signal::Metrics, &mut variables);
        let logs = Destination::read(Signal::Logs, &mut variables);
        let sampler = sampler(&mut variables);
        let spans = queue("BSP", Duration::from_secs(5), &mut variables);
        let records = queue("BLRP", Duration::from_secs(1), &mut variables);
        let intervals = intervals(&mut variables);
        let temporality = temporality(&mut variables);
        let span_limits = ["ATTRIBUTE", "EVENT", "LINK"];
        for limit in span_limits {
            // The SDK reads them itself, and says nothing of what it can't read.
            let name = format!("OTEL_SPAN_{limit}_COUNT_LIMIT");
            variables.count(&name, 0..=u64::from(u32::MAX), 0);
        }
        let resource = resource::read(&mut variables);
        let propagators = propagators(&mut variables);
        let filter = filter(&mut variables);
        let on = |destination: Option<Destination>| destination.filter(|_| !disabled);
        let settings = Self {
            traces: on(traces).map(|to| (to, spans, sampler)),
            metrics: on(metrics).map(|to| (to, intervals, temporality)),
            logs: on(logs).map(|to| (to, records)),
            resource,
            propagators,
            filter,
        };
        SettingsError::unless_none(variables.into_problems(), settings)
    }

    /// Whether anything is exported.
    pub(super) fn is_on(&self) -> bool {
        self.traces.is_some() || self.metrics.is_some() || self.logs.is_some()
    }
}

fn queue(kind: &str, delay: Duration, variables: &mut Variables<'_>) -> Queue {
    let name = |what: &str| format!("OTEL_{kind}_{what}");
    let (size, _) = variables.count(&name("MAX_QUEUE_SIZE"), 1..=1_000_000, 2048);
    let batch_name = name("MAX_EXPORT_BATCH_SIZE");
    let (batch, chosen) = variables.count(&batch_name, 1..=1_000_000, 512);
    if chosen && batch > size {
        let found = Set {
            name: batch_name,
            value: batch.to_string(),
        };
        let expected = format!("at most {}, which is {size}", name("MAX_QUEUE_SIZE"));
        variables.wrong(&found, &expected, None);
    }
    let mut time = |what, default| {
        let found = variables.find(&name(what));
        variables.milliseconds(found, default)
    };
    Queue {
        size: size as usize,
        batch: batch.min(size) as usize,
        delay: time("SCHEDULE_DELAY", delay),
        timeout: time("EXPORT_TIMEOUT", Duration::from_secs(30)),
    }
}

fn intervals(variables: &mut Variables<'_>) -> Intervals {
    let mut time = |name, default| {
        let found = variables.find(name);
        variables.milliseconds(found, default)
    };
    Intervals {
        interval: time("OTEL_METRIC_EXPORT_INTERVAL", Duration::from_secs(60)),
        timeout: time("OTEL_METRIC_EXPORT_TIMEOUT", Duration::from_secs(30)),
    }
}

fn temporality(variables: &mut Variables<'_>) -> Temporality {
    let found = variables.find("OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE");
    let choices = [
        ("cumulative", Temporality::Cumulative),
        ("delta", Temporality::Delta),
        ("lowmemory", Temporality::LowMemory),
    ];
    variables
        .choice(found, &choices, None)
        .unwrap_or(Temporality::Cumulative)
}

fn sampler(variables: &mut Variables<'_>) -> Sampler {
    #[derive(Clone, Copy)]
    enum Root {
        On,
        Off,
        Ratio,
    }
    let choices = [
        ("parentbased_always_on", (true, Root::On)),
        ("parentbased_always_off", (true, Root::Off)),
        ("parentbased_traceidratio", (true, Root::Ratio)),
        ("always_on", (false, Root::On)),
        ("always_off", (false, Root::Off)),
        ("traceidratio", (false, Root::Ratio)),
    ];
    let found = variables.find("OTEL_TRACES_SAMPLER");
    let chosen = variables.choice(found, &choices, None);
    let (by_parent, root) = chosen.unwrap_or((true, Root::On));
    let argument = variables.find("OTEL_TRACES_SAMPLER_ARG");
    let root = match root {
        Root::On => Sampler::AlwaysOn,
        Root::Off => Sampler::AlwaysOff,
        Root::Ratio => Sampler::TraceIdRatioBased(ratio(argument, variables)),
    };
    match by_parent {
        true => Sampler::ParentBased(Box::new(root)),
        false => root,
    }
}

/// All of them when it is left out, as the standard says.
fn ratio(argument: Option<Set>, variables: &mut Variables<'_>) -> f64 {
    let Some(found) = argument else {
        return 1.0;
    };
    match found.value.parse() {
        Ok(ratio) if (0.0..=1.0).contains(&ratio) => ratio,
        _ => {
            let hint = Some("0.1 takes every tenth trace");
            variables.wrong(&found, "a number from 0 to 1", hint);
            1.0
        }
    }
}

fn propagators(variables: &mut Variables<'_>) -> Propagators {
    let mut propagators = Propagators {
        trace_context: true,
        baggage: true,
        asked_for: false,
    };
    let Some(found) = variables.find("OTEL_PROPAGATORS") else {
        return propagators;
    };
    let names: Vec<_> = found.value.split(',').map(str::trim).collect();
    let known = ["tracecontext", "baggage", "none", ""];
    if names.iter().any(|name| !known.contains(name)) {
        let hint = Some("only the W3C's are built in; others can be set up in code");
        let expected = "tracecontext, baggage, both with a comma between them, or none";
        variables.wrong(&found, expected, hint);
    }
    propagators.trace_context = names.contains(&"tracecontext");
    propagators.baggage = names.contains(&"baggage");
    propagators.asked_for = propagators.trace_context || propagators.baggage;
    propagators
}

fn filter(variables: &mut Variables<'_>) -> String {
    let Some(found) = variables.find(EnvFilter::DEFAULT_ENV) else {
        return "info".to_owned();
    };
    if EnvFilter::try_new(&found.value).is_err() {
        let hint = Some("for example info or warn,my_app=debug");
        variables.wrong(&found, "directives with commas between them", hint);
    }
    found.value
}

#[cfg(test)]
mod tests;
