//! OTLP as the collector writes it in JSON, flattened.

use std::collections::BTreeMap;

use serde_json::Value;

/// Attribute values as plain JSON: integers are numbers, arrays are arrays.
pub type Attributes = BTreeMap<String, Value>;

/// A finished span.
#[derive(Clone, Debug)]
pub struct Span {
    pub resource: Attributes,
    pub scope: String,
    pub name: String,
    /// 1 is internal, 2 server, 3 client, 4 producer, 5 consumer.
    pub kind: u64,
    pub trace_id: String,
    pub span_id: String,
    /// Empty for a root span.
    pub parent_id: String,
    /// Nanoseconds since 1970.
    pub start: u64,
    pub end: u64,
    pub attributes: Attributes,
    pub events: Vec<(String, Attributes)>,
    /// 0 is unset, 1 ok, 2 error.
    pub status: u64,
    pub status_message: String,
}

/// The latest value of a metric with its attributes.
#[derive(Clone, Debug)]
pub struct Point {
    pub resource: Attributes,
    pub scope: String,
    pub name: String,
    pub unit: String,
    pub description: String,
    pub kind: Kind,
    pub attributes: Attributes,
    pub value: Number,
}

/// The kind of a metric.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Gauge,
    UpDownCounter,
    Counter,
    Histogram,
}

/// The value of a point.
#[derive(Clone, Debug, PartialEq)]
pub enum Number {
    Single(f64),
    Histogram {
        count: u64,
        sum: f64,
        bounds: Vec<f64>,
        buckets: Vec<u64>,
    },
}

/// A log record.
#[derive(Clone, Debug)]
pub struct Log {
    pub resource: Attributes,
    pub scope: String,
    pub severity: String,
    pub body: String,
    pub attributes: Attributes,
    /// Empty if no span was current; the same holds for `span_id`.
    pub trace_id: String,
    pub span_id: String,
}

impl Span {
    /// The duration in seconds.
    pub fn seconds(&self) -> f64 {
        (self.end - self.start) as f64 / 1e9
    }

    pub fn is_root(&self) -> bool {
        self.parent_id.is_empty()
    }
}

impl Point {
    /// # Panics
    /// If it is a histogram.
    pub fn single(&self) -> f64 {
        match self.value {
            Number::Single(value) => value,
            Number::Histogram { .. } => panic!("{} is a histogram", self.name),
        }
    }

    /// The number of values in a histogram.
    ///
    /// # Panics
    /// If it is not a histogram.
    pub fn count(&self) -> u64 {
        match self.value {
            Number::Histogram { count, .. } => count,
            Number::Single(_) => panic!("{} is not a histogram", self.name),
        }
    }
}

/// The spans of one export request.
pub fn spans(request: &Value) -> impl Iterator<Item = Span> {
    let spans = nested(request, ["resourceSpans", "scopeSpans", "spans"]);
    spans.map(|(resource, scope, span)| Span {
        resource,
        scope,
        name: text(&span["name"]),
        kind: integer(&span["kind"]),
        trace_id: text(&span["traceId"]),
        span_id: text(&span["spanId"]),
        parent_id: text(&span["parentSpanId"]),
        start: integer(&span["startTimeUnixNano"]),
        end: integer(&span["endTimeUnixNano"]),
        attributes: attributes(&span["attributes"]),
        events: list(&span["events"])
            .map(|event| (text(&event["name"]), attributes(&event["attributes"])))
            .collect(),
        status: integer(&span["status"]["code"]),
        status_message: text(&span["status"]["message"]),
    })
}

pub fn points(request: &Value) -> impl Iterator<Item = Point> {
    let metrics = nested(request, ["resourceMetrics", "scopeMetrics", "metrics"]);
    metrics.flat_map(|(resource, scope, metric)| {
        let (kind, data) = data(metric);
        list(&data["dataPoints"])
            .map(|point| Point {
                resource: resource.clone(),
                scope: scope.clone(),
                name: text(&metric["name"]),
                unit: text(&metric["unit"]),
                description: text(&metric["description"]),
                kind,
                attributes: attributes(&point["attributes"]),
                value: number(kind, point),
            })
            .collect::<Vec<_>>()
    })
}

pub fn logs(request: &Value) -> impl Iterator<Item = Log> {
    let logs = nested(request, ["resourceLogs", "scopeLogs", "logRecords"]);
    logs.map(|(resource, scope, log)| Log {
        resource,
        scope,
        severity: text(&log["severityText"]),
        body: text(&value(&log["body"])),
        attributes: attributes(&log["attributes"]),
        trace_id: text(&log["traceId"]),
        span_id: text(&log["spanId"]),
    })
}

/// The last point for each metric, resource and attributes.
pub fn latest(points: impl Iterator<Item = Point>) -> Vec<Point> {
    let mut latest = BTreeMap::new();
    for point in points {
        let key = format!("{} {:?} {:?}", point.name, point.attributes, point.resource);
        latest.insert(key, point);
    }
    latest.into_values().collect()
}

/// Every item, with its resource's attributes and its scope's name.
fn nested<'a>(
    request: &'a Value,
    [resources, scopes, items]: [&'static str; 3],
) -> impl Iterator<Item = (Attributes, String, &'a Value)> {
    list(&request[resources]).flat_map(move |resource| {
        let of_resource = attributes(&resource["resource"]["attributes"]);
        list(&resource[scopes]).flat_map(move |scope| {
            let of_resource = of_resource.clone();
            let name = text(&scope["scope"]["name"]);
            list(&scope[items]).map(move |item| (of_resource.clone(), name.clone(), item))
        })
    })
}

fn data(metric: &Value) -> (Kind, &Value) {
    if let Some(gauge) = metric.get("gauge") {
        return (Kind::Gauge, gauge);
    }
    if let Some(sum) = metric.get("sum") {
        let kind = match sum["isMonotonic"].as_bool() {
            Some(true) => Kind::Counter,
            _ => Kind::UpDownCounter,
        };
        return (kind, sum);
    }
    let histogram = metric.get("histogram");
    let histogram = histogram.unwrap_or_else(|| panic!("an unknown kind: {metric}"));
    (Kind::Histogram, histogram)
}

fn number(kind: Kind, point: &Value) -> Number {
    if kind != Kind::Histogram {
        let value = point.get("asDouble").unwrap_or(&point["asInt"]);
        return Number::Single(float(value));
    }
    Number::Histogram {
        count: integer(&point["count"]),
        sum: float(&point["sum"]),
        bounds: list(&point["explicitBounds"]).map(float).collect(),
        buckets: list(&point["bucketCounts"]).map(integer).collect(),
    }
}

fn attributes(list_of: &Value) -> Attributes {
    list(list_of)
        .map(|pair| (text(&pair["key"]), value(&pair["value"])))
        .collect()
}

fn value(any: &Value) -> Value {
    let Some((kind, inner)) = any.as_object().and_then(|any| any.iter().next()) else {
        return Value::Null;
    };
    match kind.as_str() {
        "intValue" => {
            let text = text(inner);
            text.parse::<i64>().map_or(inner.clone(), Value::from)
        }
        "arrayValue" => list(&inner["values"]).map(value).collect(),
        "kvlistValue" => {
            let pairs = attributes(&inner["values"]);
            pairs.into_iter().collect()
        }
        _ => inner.clone(),
    }
}

fn list(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

/// 64-bit integers are strings in OTLP's JSON; zero and empty values are omitted.
fn integer(value: &Value) -> u64 {
    let number = value.as_u64();
    number.unwrap_or_else(|| text(value).parse().unwrap_or_default())
}

fn float(value: &Value) -> f64 {
    let number = value.as_f64();
    number.unwrap_or_else(|| text(value).parse().unwrap_or_default())
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}
