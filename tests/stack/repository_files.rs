//! Reads files of this repository.

use std::fs;
use std::path::{Path, PathBuf};

use saphyr::{LoadableYamlNode, Yaml};
use serde_json::Value;

/// The path of a file, given from the root.
pub fn path(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}

pub fn text(name: &str) -> String {
    fs::read_to_string(path(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

pub fn json(name: &str) -> Value {
    serde_json::from_str(&text(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

/// Reads a file of one YAML document.
pub fn yaml(name: &str) -> Value {
    let text = text(name);
    let documents = Yaml::load_from_str(&text).unwrap_or_else(|error| panic!("{name}: {error}"));
    let [document] = &documents[..] else {
        panic!("{name} has {} documents", documents.len());
    };
    value(document)
}

fn value(yaml: &Yaml<'_>) -> Value {
    if let Some(list) = yaml.as_vec() {
        return list.iter().map(value).collect();
    }
    if let Some(mapping) = yaml.as_mapping() {
        let entries = mapping.iter();
        return entries
            .map(|(key, item)| (key.as_str().expect("a name").to_owned(), value(item)))
            .collect();
    }
    if let Some(text) = yaml.as_str() {
        return text.into();
    }
    yaml.as_bool()
        .map(Value::from)
        .or_else(|| yaml.as_integer().map(Value::from))
        .or_else(|| yaml.as_floating_point().map(Value::from))
        .unwrap_or(Value::Null)
}
