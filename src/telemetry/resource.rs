//! Who it is that the telemetry comes from.

use opentelemetry::KeyValue;
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::resource::TelemetryResourceDetector;
use opentelemetry_semantic_conventions::attribute::{SERVICE_INSTANCE_ID, SERVICE_NAME};
use percent_encoding::percent_decode_str;

use super::variables::Variables;
use crate::identity;

/// The attributes of `OTEL_RESOURCE_ATTRIBUTES`, and a name and an instance in any case.
pub(super) fn read(variables: &mut Variables<'_>) -> Resource {
    let mut attributes = attributes(variables);
    if let Some(name) = variables.find("OTEL_SERVICE_NAME") {
        attributes.push((SERVICE_NAME.to_owned(), name.value));
    }
    let own = [
        (SERVICE_NAME, identity::service_name as fn() -> &'static str),
        (SERVICE_INSTANCE_ID, identity::instance_id),
    ];
    for (key, value) in own {
        if !attributes.iter().any(|(other, _)| other == key) {
            attributes.push((key.to_owned(), value().to_owned()));
        }
    }
    Resource::builder_empty()
        .with_detector(Box::new(TelemetryResourceDetector))
        .with_attributes(
            attributes
                .into_iter()
                .map(|(key, value)| KeyValue::new(key, value)),
        )
        .build()
}

/// `key1=value1,key2=value2`, the values percent-encoded; the SDK would not decode them.
fn attributes(variables: &mut Variables<'_>) -> Vec<(String, String)> {
    let Some(found) = variables.find("OTEL_RESOURCE_ATTRIBUTES") else {
        return Vec::new();
    };
    let mut attributes = Vec::new();
    let pairs = found.value.split(',').map(str::trim);
    for (at, pair) in (1..).zip(pairs).filter(|(_, pair)| !pair.is_empty()) {
        match pair.split_once('=') {
            Some((key, value)) if !key.trim().is_empty() => {
                let value = percent_decode_str(value.trim()).decode_utf8_lossy();
                if !value.is_empty() {
                    attributes.push((key.trim().to_owned(), value.into_owned()));
                }
            }
            _ => {
                let hint = format!("pair {at} has no key or no =");
                let expected = "key=value pairs with commas between them, such as deployment.environment.name=staging";
                variables.wrong(&found, expected, Some(&hint));
            }
        }
    }
    attributes
}
