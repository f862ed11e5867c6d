//! The name of this process for OpenTelemetry and for the database.

use std::borrow::Cow;
use std::collections::hash_map::RandomState;
use std::env;
use std::hash::BuildHasher;
use std::sync::OnceLock;

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
    attribute_of(&variable("OTEL_RESOURCE_ATTRIBUTES")?, name)
}

/// Returns the value of `name` in `key1=value1,key2=value2`, percent-decoded; `None` if it is absent
/// or empty.
fn attribute_of(list: &str, name: &str) -> Option<String> {
    list.split(',')
        .filter_map(|pair| pair.split_once('='))
        .find(|(key, _)| key.trim() == name)
        .map(|(_, value)| decoded(value.trim()).into_owned())
        .filter(|value| !value.is_empty())
}

/// Decodes percent codes. Leaves a `%` that is not followed by two hexadecimal digits unchanged.
fn decoded(text: &str) -> Cow<'_, str> {
    if !text.contains('%') {
        return Cow::Borrowed(text);
    }
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, after)) = rest.split_first() {
        let byte = after.get(..2).and_then(|hex| {
            let hex = std::str::from_utf8(hex).ok()?;
            u8::from_str_radix(hex, 16).ok()
        });
        match byte {
            Some(byte) if first == b'%' => {
                bytes.push(byte);
                rest = &after[2..];
            }
            _ => {
                bytes.push(first);
                rest = after;
            }
        }
    }
    Cow::Owned(String::from_utf8_lossy(&bytes).into_owned())
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
    fn attributes_are_found_and_decoded() {
        let list = "a=1, service.instance.id = pod%2D7 ,b=%zz,empty=";
        assert_eq!(
            attribute_of(list, "service.instance.id").as_deref(),
            Some("pod-7")
        );
        assert_eq!(attribute_of(list, "b").as_deref(), Some("%zz"));
        assert_eq!(attribute_of(list, "empty"), None);
        assert_eq!(attribute_of(list, "c"), None);
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
