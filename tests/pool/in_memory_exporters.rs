//! OpenTelemetry's SDK with in-memory exporters.

use std::collections::BTreeMap;

use opentelemetry::{Array, InstrumentationScope, Value};
use opentelemetry_sdk::metrics::data::{AggregatedMetrics, Metric, MetricData};
use opentelemetry_sdk::metrics::{InMemoryMetricExporter, SdkMeterProvider};
use opentelemetry_sdk::trace::{
    InMemorySpanExporter, Sampler, SdkTracerProvider, ShouldSample, SpanData,
};

/// A metric's attributes, as text.
pub type Attributes = BTreeMap<String, String>;

/// Metrics, collected on demand.
pub struct Meters {
    pub provider: SdkMeterProvider,
    exporter: InMemoryMetricExporter,
}

/// One instrument with everything recorded in it.
#[derive(Clone, Debug, PartialEq)]
pub struct Instrument {
    pub unit: String,
    pub description: String,
    pub kind: Kind,
    pub points: Vec<(Attributes, Reading)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    UpDownCounter,
    Counter,
    Gauge,
    Histogram,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Reading {
    Number(i64),
    Histogram {
        count: u64,
        sum: f64,
        bounds: Vec<f64>,
    },
}

impl Meters {
    pub fn new() -> Self {
        let exporter = InMemoryMetricExporter::default();
        let provider = SdkMeterProvider::builder()
            .with_periodic_exporter(exporter.clone())
            .build();
        Self { provider, exporter }
    }

    /// All instruments at this moment, by name.
    pub fn read(&self) -> BTreeMap<String, Instrument> {
        self.read_with_scopes().1
    }

    /// All instruments at this moment, and their scopes.
    pub fn read_with_scopes(&self) -> (Vec<InstrumentationScope>, BTreeMap<String, Instrument>) {
        self.exporter.reset();
        self.provider
            .force_flush()
            .expect("metrics can be collected");
        let finished = self
            .exporter
            .get_finished_metrics()
            .expect("the exporter is in memory");
        let scopes = finished
            .iter()
            .flat_map(|resource| resource.scope_metrics());
        let (mut names, mut instruments) = (Vec::new(), BTreeMap::new());
        for scope in scopes {
            names.push(scope.scope().clone());
            for metric in scope.metrics() {
                let twice = instruments.insert(metric.name().to_owned(), Instrument::from(metric));
                assert_eq!(twice, None, "{} is exported twice", metric.name());
            }
        }
        (names, instruments)
    }

    /// The value of an instrument with these attributes and the pool's name.
    pub fn number(&self, name: &str, pool: &str, state: Option<&str>) -> Option<i64> {
        match self.reading(name, pool, state)? {
            Reading::Number(number) => Some(number),
            histogram @ Reading::Histogram { .. } => panic!("{name}: {histogram:?}"),
        }
    }

    /// Count and sum of a histogram; zeros if it is empty.
    pub fn histogram(&self, name: &str, pool: &str) -> (u64, f64) {
        match self.reading(name, pool, None) {
            None => (0, 0.0),
            Some(Reading::Histogram { count, sum, .. }) => (count, sum),
            Some(number) => panic!("{name}: {number:?}"),
        }
    }

    fn reading(&self, name: &str, pool: &str, state: Option<&str>) -> Option<Reading> {
        let instrument = self.read().remove(name)?;
        let wanted = attributes(pool, state);
        let mut points = instrument.points.into_iter();
        points
            .find(|(of, _)| *of == wanted)
            .map(|(_, reading)| reading)
    }
}

/// The attributes of a pool's instrument.
pub fn attributes(pool: &str, state: Option<&str>) -> Attributes {
    let state = state.map(|state| ("db.client.connection.state", state));
    std::iter::once(("db.client.connection.pool.name", pool))
        .chain(state)
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .collect()
}

impl From<&Metric> for Instrument {
    fn from(metric: &Metric) -> Self {
        let (kind, points) = match metric.data() {
            AggregatedMetrics::F64(data) => points(data, |number| number as i64),
            AggregatedMetrics::I64(data) => points(data, |number| number),
            AggregatedMetrics::U64(data) => points(data, |number| number as i64),
        };
        Self {
            unit: metric.unit().to_owned(),
            description: metric.description().to_owned(),
            kind,
            points,
        }
    }
}

fn points<T: Copy + Into64>(
    data: &MetricData<T>,
    number: fn(T) -> i64,
) -> (Kind, Vec<(Attributes, Reading)>) {
    match data {
        MetricData::Sum(sum) => {
            let kind = if sum.is_monotonic() {
                Kind::Counter
            } else {
                Kind::UpDownCounter
            };
            let points = sum.data_points().map(|point| {
                let attributes = as_text(point.attributes());
                (attributes, Reading::Number(number(point.value())))
            });
            (kind, points.collect())
        }
        MetricData::Histogram(histogram) => {
            let points = histogram.data_points().map(|point| {
                let reading = Reading::Histogram {
                    count: point.count(),
                    sum: point.sum().into64(),
                    bounds: point.bounds().collect(),
                };
                (as_text(point.attributes()), reading)
            });
            (Kind::Histogram, points.collect())
        }
        MetricData::Gauge(gauge) => {
            let points = gauge.data_points().map(|point| {
                let attributes = as_text(point.attributes());
                (attributes, Reading::Number(number(point.value())))
            });
            (Kind::Gauge, points.collect())
        }
        MetricData::ExponentialHistogram(_) => panic!("no instrument has this type"),
    }
}

/// A histogram's sum, of any number type.
pub trait Into64 {
    fn into64(self) -> f64;
}

impl Into64 for f64 {
    fn into64(self) -> f64 {
        self
    }
}

impl Into64 for i64 {
    fn into64(self) -> f64 {
        self as f64
    }
}

impl Into64 for u64 {
    fn into64(self) -> f64 {
        self as f64
    }
}

fn as_text<'a>(attributes: impl Iterator<Item = &'a opentelemetry::KeyValue>) -> Attributes {
    attributes
        .map(|attribute| (attribute.key.to_string(), attribute.value.to_string()))
        .collect()
}

/// Spans, kept when they end.
pub struct Spans {
    pub provider: SdkTracerProvider,
    exporter: InMemorySpanExporter,
}

impl Spans {
    /// Every span is sampled.
    pub fn new() -> Self {
        Self::sampled(Sampler::AlwaysOn)
    }

    pub fn sampled(sampler: impl ShouldSample + 'static) -> Self {
        let exporter = InMemorySpanExporter::default();
        let provider = SdkTracerProvider::builder()
            .with_sampler(Box::new(sampler) as Box<dyn ShouldSample>)
            .with_simple_exporter(exporter.clone())
            .build();
        Self { provider, exporter }
    }

    /// The ended spans of checkouts, in the order of their ends.
    pub fn checkouts(&self) -> Vec<SpanData> {
        self.named("pool.checkout")
    }

    /// The ended spans of this name.
    pub fn named(&self, name: &str) -> Vec<SpanData> {
        let mut spans = self
            .exporter
            .get_finished_spans()
            .expect("the exporter is in memory");
        spans.retain(|span| span.name == name);
        spans
    }

    /// The ended spans whose name starts with this.
    pub fn named_like(&self, start: &str) -> Vec<SpanData> {
        let mut spans = self
            .exporter
            .get_finished_spans()
            .expect("the exporter is in memory");
        spans.retain(|span| span.name.starts_with(start));
        spans
    }

    /// Forgets all spans.
    pub fn reset(&self) {
        self.exporter.reset();
    }

    /// The only checkout span.
    #[track_caller]
    pub fn only_checkout(&self) -> SpanData {
        let mut spans = self.checkouts();
        assert_eq!(spans.len(), 1, "{spans:?}");
        spans.remove(0)
    }
}

/// An attribute of a span, as text; empty if there is none.
pub fn attribute(span: &SpanData, key: &str) -> String {
    let found = span
        .attributes
        .iter()
        .find(|attribute| attribute.key.as_str() == key);
    found.map_or_else(String::new, |attribute| match &attribute.value {
        Value::Array(Array::String(values)) => format!("{values:?}"),
        value => value.to_string(),
    })
}
