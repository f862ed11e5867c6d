//! The settings by which providers and exporters are built.
//!
//! The SDK and the OTLP exporter read samplers, limits, headers, compression and temporality themselves, and
//! ignore invalid values silently. This module only checks those. It reads the rest: whether and where to
//! export, and the sizes and times that this crate counts and limits.

use std::ffi::OsString;
use std::fmt;
use std::time::Duration;

use http::uri::{Authority, Scheme, Uri};
use http::{HeaderName, HeaderValue};
use opentelemetry::KeyValue;
use opentelemetry::propagation::{TextMapCompositePropagator, TextMapPropagator};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::propagation::{BaggagePropagator, TraceContextPropagator};
use opentelemetry_sdk::resource::TelemetryResourceDetector;
use percent_encoding::percent_decode_str;
use tracing_subscriber::EnvFilter;

use super::endpoint;
use super::environment::{Environment, of_exporter};
use super::stats::Signal;
use super::tls::{self, Tls};
use crate::identity;
use crate::settings::Problem;

/// One day, in milliseconds. A longer time counts as a mistake.
const LONGEST: u64 = 24 * 3600 * 1000;
const LARGEST: u64 = 1_000_000;
const SAMPLERS: [&str; 6] = [
    "parentbased_always_on",
    "parentbased_always_off",
    "parentbased_traceidratio",
    "always_on",
    "always_off",
    "traceidratio",
];

#[derive(Debug)]
pub(super) struct Settings {
    /// The exported ones of traces, metrics and logs.
    pub(super) exports: [Option<ExportSettings>; 3],
    /// `None` if no variable asks for one, and nothing is exported.
    pub(super) propagators: Option<TextMapCompositePropagator>,
    /// The directives of `RUST_LOG`.
    pub(super) filter: String,
    /// The ignored values.
    pub(super) warnings: Vec<Problem>,
}

/// Where and how one signal is exported.
pub(super) struct ExportSettings {
    pub(super) protocol: Protocol,
    /// Includes the path of the signal, which gRPC ignores.
    pub(super) uri: Uri,
    pub(super) tls: Option<Tls>,
    /// The size of the queue; 0 for metrics, which have none.
    pub(super) queue: usize,
    pub(super) batch: usize,
    /// The time between two exports.
    pub(super) interval: Duration,
    /// The time limit of one export, including retries.
    pub(super) timeout: Duration,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Protocol {
    Grpc,
    Http,
}

impl Settings {
    pub(super) fn read(lookup: &dyn Fn(&str) -> Option<OsString>) -> Self {
        let mut environment = Environment {
            lookup,
            warnings: Vec::new(),
        };
        let disabled = environment.flag(&["OTEL_SDK_DISABLED"]);
        let exports = Signal::ALL.map(|signal| match disabled {
            true => None,
            false => ExportSettings::read(signal, &mut environment),
        });
        let is_on = exports.iter().any(Option::is_some);
        if is_on {
            check_the_sdks(&mut environment);
        }
        Self {
            exports,
            propagators: propagators(is_on, &mut environment),
            filter: filter(&mut environment),
            warnings: environment.warnings,
        }
    }

    /// Returns whether anything is exported.
    pub(super) fn is_on(&self) -> bool {
        self.exports.iter().any(Option::is_some)
    }
}

impl ExportSettings {
    /// Returns `None` if the signal is not exported: it has no endpoint or one that cannot be used, or its
    /// exporter is `none`.
    fn read(signal: Signal, environment: &mut Environment<'_>) -> Option<Self> {
        let endpoint = environment.find_first(&of_exporter(signal, "ENDPOINT"))?;
        if !is_wanted(signal, environment) {
            return None;
        }
        let protocols = [("http/protobuf", Protocol::Http), ("grpc", Protocol::Grpc)];
        let names = of_exporter(signal, "PROTOCOL");
        let protocol = environment.word(&names, &protocols, "http/protobuf");
        let protocol = protocol.unwrap_or(Protocol::Http);
        let uri = endpoint::uri(signal, protocol, &endpoint, environment);
        let uri = environment.or_off(uri)?;
        let encrypted = uri.scheme() == Some(&Scheme::HTTPS);
        let tls = encrypted.then(|| tls::read(signal, protocol, &endpoint, environment));
        let tls = environment.or_off(tls.transpose())?;
        // The exporter reads these two itself.
        check_headers(signal, environment);
        environment.word(
            &of_exporter(signal, "COMPRESSION"),
            &[("gzip", ()), ("none", ())],
            "none",
        );

        let (prefix, interval, usual) = match signal {
            Signal::Traces => ("OTEL_BSP", "SCHEDULE_DELAY", 5_000),
            Signal::Metrics => ("OTEL_METRIC", "EXPORT_INTERVAL", 60_000),
            Signal::Logs => ("OTEL_BLRP", "SCHEDULE_DELAY", 1_000),
        };
        let name = |what: &str| [format!("{prefix}_{what}")];
        let mut size = |what, usual| match signal {
            Signal::Metrics => 0,
            _ => environment.number(&name(what), 1..=LARGEST, usual) as usize,
        };
        let (queue, batch) = (
            size("MAX_QUEUE_SIZE", 2048),
            size("MAX_EXPORT_BATCH_SIZE", 512),
        );
        let timeout = environment.number(&of_exporter(signal, "TIMEOUT"), 1..=LONGEST, 10_000);
        let limit = environment.number(&name("EXPORT_TIMEOUT"), 1..=LONGEST, 30_000);
        let interval = environment.number(&name(interval), 1..=LONGEST, usual);
        Some(Self {
            protocol,
            uri,
            tls,
            queue,
            batch: batch.min(queue),
            interval: Duration::from_millis(interval),
            timeout: Duration::from_millis(timeout.min(limit)),
        })
    }

    /// Returns the URL without its query, which may contain a key.
    pub(super) fn shown(&self) -> String {
        let path = match self.protocol {
            Protocol::Http => self.uri.path(),
            Protocol::Grpc => "",
        };
        format!("{}{path}", self.origin())
    }

    /// Returns the server. Signals with the same server share its outages.
    pub(super) fn origin(&self) -> String {
        let scheme = self.uri.scheme_str().unwrap_or_default();
        let authority = self.uri.authority().map_or("", Authority::as_str);
        format!("{scheme}://{authority}")
    }
}

impl fmt::Debug for ExportSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.shown())
    }
}

/// Returns the service, its instance, and the attributes of `OTEL_RESOURCE_ATTRIBUTES`, which the SDK would
/// not decode.
pub(super) fn resource() -> Resource {
    let own = [
        ("service.name", identity::service_name()),
        ("service.instance.id", identity::instance_id()),
    ];
    let attributes = identity::resource_attributes();
    Resource::builder_empty()
        .with_detector(Box::new(TelemetryResourceDetector))
        .with_attributes(attributes.map(|(key, value)| KeyValue::new(key, value)))
        .with_attributes(own.map(|(key, value)| KeyValue::new(key, value)))
        .build()
}

/// Returns whether the list of exporters includes `otlp`, as in `otlp,console`.
fn is_wanted(signal: Signal, environment: &mut Environment<'_>) -> bool {
    let name = format!("OTEL_{}_EXPORTER", signal.in_variables());
    let known = environment.list(&name, ["otlp", "none"], "otlp");
    known.is_none_or(|[otlp, none]| otlp || !none)
}

/// Warns of the headers that the exporter omits. Values are never shown.
fn check_headers(signal: Signal, environment: &mut Environment<'_>) {
    let Some(found) = environment.find_first(&of_exporter(signal, "HEADERS")) else {
        return;
    };
    let is_sent = |pair: &str| {
        let pair = pair.split_once('=').filter(|(name, _)| {
            let name = HeaderName::try_from(name.trim());
            name.is_ok()
        });
        let value = pair.map(|(_, value)| percent_decode_str(value.trim()).decode_utf8_lossy());
        value.is_some_and(|value| !value.is_empty() && HeaderValue::from_str(&value).is_ok())
    };
    let pairs = found.value.split(',').map(str::trim);
    let wrong = (1..)
        .zip(pairs)
        .find(|(_, pair)| !pair.is_empty() && !is_sent(pair));
    if let Some((at, _)) = wrong {
        let expected =
            "name=value pairs with commas between them, such as authorization=Bearer%20TOKEN";
        let problem = Problem::wrong(&*found.name, "(not shown)", expected.to_owned());
        environment.warn(problem.with_hint(Some(format!("pair {at} is not sent"))));
    }
}

/// Warns of values that the SDK ignores.
fn check_the_sdks(environment: &mut Environment<'_>) {
    let sampler = |value: &str| SAMPLERS.into_iter().find(|sampler| *sampler == value);
    let expected = SAMPLERS.join(" or ");
    let sampler = environment.first(&["OTEL_TRACES_SAMPLER"], &expected, SAMPLERS[0], sampler);
    if sampler.is_some_and(|sampler| sampler.ends_with("ratio")) {
        let ratio = |value: &str| value.parse().ok().filter(|it| (0.0..=1.0).contains(it));
        let expected = "a number from 0 to 1";
        environment.first::<f64>(&["OTEL_TRACES_SAMPLER_ARG"], expected, "1", ratio);
    }
    let temporality = "OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE";
    let temporalities = ["cumulative", "delta", "lowmemory"].map(|word| (word, ()));
    environment.word(&[temporality], &temporalities, "cumulative");
    for limited in ["ATTRIBUTE", "EVENT", "LINK"] {
        let name = format!("OTEL_SPAN_{limited}_COUNT_LIMIT");
        environment.number(&[name], 0..=u64::from(u32::MAX), 128);
    }
    if let Some(found) = environment.find("OTEL_RESOURCE_ATTRIBUTES")
        && found
            .value
            .split(',')
            .any(|pair| !pair.trim().is_empty() && !pair.contains('='))
    {
        let expected = "key=value pairs with commas between them";
        environment.warn(found.problem(expected, Some("the other parts are left out")));
    }
}

/// Returns both W3C propagators if something is exported, unless a variable names others.
fn propagators(
    is_on: bool,
    environment: &mut Environment<'_>,
) -> Option<TextMapCompositePropagator> {
    let known = environment.list(
        "OTEL_PROPAGATORS",
        ["tracecontext", "baggage", "none"],
        "tracecontext,baggage",
    );
    let [trace_context, baggage, _] = known.unwrap_or([true, true, false]);
    let mut propagators: Vec<Box<dyn TextMapPropagator + Send + Sync>> = Vec::new();
    if trace_context {
        propagators.push(Box::new(TraceContextPropagator::new()));
    }
    if baggage {
        propagators.push(Box::new(BaggagePropagator::new()));
    }
    let asked_for = known.is_some() && !propagators.is_empty();
    (is_on || asked_for).then(|| TextMapCompositePropagator::new(propagators))
}

fn filter(environment: &mut Environment<'_>) -> String {
    let is_valid = |value: &str| EnvFilter::try_new(value).is_ok().then(|| value.to_owned());
    let expected = "directives with commas between them, such as info or warn,my_app=debug";
    let filter = environment.first(&[EnvFilter::DEFAULT_ENV], expected, "info", is_valid);
    filter.unwrap_or_else(|| "info".to_owned())
}

#[cfg(test)]
mod tests;
