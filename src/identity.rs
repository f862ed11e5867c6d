//! The name of this process for OpenTelemetry and for the database.

use std::collections::hash_map::RandomState;
use std::env;
use std::hash::BuildHasher;
use std::sync::OnceLock;

use percent_encoding::percent_decode_str;

/// Returns `service.name`: from the standard variables, or the program's file name.
pub(crate) fn service_name() -> &'static str {
    static NAME: OnceLock<String> = OnceLock::new();
    NAME.get_or_init(|| {
        variable("OTEL_SERVICE_NAME")
            .or_else(|| resource_attribute("service.name"))
            .or_else(program)
            .unwrap_or_else(|| "unknown_service".to_owned())
    })
}

/// Returns `service.instance.id`: from the standard variable, or a random one per process.
pub(crate) fn instance_id() -> &'static str {
    static ID: OnceLock<String> = OnceLock::new();
    ID.get_or_init(|| resource_attribute("service.instance.id").unwrap_or_else(random_uuid))
}

fn variable(name: &str) -> Option<String> {
    env::var(name).ok().filter(|value| !value.trim().is_empty())
}

fn resource_attribute(name: &str) -> Option<String> {
    resource_attributes()
        .find(|(key, _)| key == name)
        .map(|(_, value)| value)
}

/// Returns the pairs of `OTEL_RESOURCE_ATTRIBUTES`, decoded.
pub(crate) fn resource_attributes() -> impl Iterator<Item = (String, String)> {
    let list = variable("OTEL_RESOURCE_ATTRIBUTES").unwrap_or_default();
    attributes_of(&list).collect::<Vec<_>>().into_iter()
}

/// Parses `key1=value1,key2=value2` with percent-encoded values. Skips pairs without a key or a value.
fn attributes_of(list: &str) -> impl Iterator<Item = (String, String)> {
    let pairs = list.split(',').filter_map(|pair| pair.split_once('='));
    pairs
        .map(|(key, value)| {
            let value = percent_decode_str(value.trim()).decode_utf8_lossy();
            (key.trim().to_owned(), value.into_owned())
        })
        .filter(|(key, value)| !key.is_empty() && !value.is_empty())
}

fn program() -> Option<String> {
    let path = env::current_exe().ok()?;
    Some(path.file_stem()?.to_string_lossy().into_owned())
}

/// Returns a version 4 UUID, generated from the standard library's random hash keys.
fn random_uuid() -> String {
    let random = || RandomState::new().hash_one(std::process::id());
    let (high, low) = (random(), random());
    let high = high & !0xf000 | 0x4000;
    let low = low & !(0b11 << 62) | 0b10 << 62;
    format!(
        "{:08x}-{:04x}-{:04x}-{:04x}-{:012x}",
        high >> 32,
        high >> 16 & 0xffff,
        high & 0xffff,
        low >> 48,
        low & 0xffff_ffff_ffff
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attributes_are_decoded() {
        let list = "a=1, service.instance.id = pod%2D7 ,b=%zz,empty=,alone";
        let found: Vec<_> = attributes_of(list).collect();
        let expected = [("a", "1"), ("service.instance.id", "pod-7"), ("b", "%zz")];
        assert_eq!(
            found,
            expected.map(|(key, value)| (key.to_owned(), value.to_owned()))
        );
    }

    #[test]
    fn ids_are_uuids_and_differ() {
        let (a, b) = (random_uuid(), random_uuid());
        assert_ne!(a, b);
        assert_eq!(a.len(), 36);
        assert_eq!(a.as_bytes()[14], b'4');
        assert!(matches!(a.as_bytes()[19], b'8' | b'9' | b'a' | b'b'));
        assert_eq!(instance_id(), instance_id());
    }
}
