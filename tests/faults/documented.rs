//! Compares the fault table of the guide with the tests.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

const GUIDE: &str = include_str!("../../docs/reliability.md");

/// Returns the test links of the tables: a test's name, and its file relative to the guide.
fn linked() -> BTreeSet<(String, String)> {
    let rows = GUIDE.lines().filter(|line| line.starts_with('|'));
    let links = rows.flat_map(|row| row.split("[`").skip(1));
    links
        .map(|link| {
            let (name, rest) = link.split_once("`](../").expect("a relative link");
            let (file, _) = rest.split_once(')').expect("the end of a link");
            (name.to_owned(), file.to_owned())
        })
        .collect()
}

fn read(file: &Path) -> String {
    fs::read_to_string(file).unwrap_or_else(|error| panic!("{}: {error}", file.display()))
}

fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

#[test]
fn every_linked_test_exists() {
    let linked = linked();
    assert!(linked.len() > 20, "{linked:?}");
    for (name, file) in linked {
        let text = read(&repository().join(&file));
        assert!(
            text.contains(&format!("fn {name}")),
            "{name} is not in {file}"
        );
    }
}

#[test]
fn every_fault_test_is_in_the_guide() {
    let linked = linked();
    let mut missing = Vec::new();
    for entry in fs::read_dir(repository().join("tests/faults")).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        let file = format!("tests/faults/{name}");
        if name == "documented.rs" {
            continue;
        }
        for test in tests(&read(&repository().join(&file))) {
            if !linked.contains(&(test.clone(), file.clone())) {
                missing.push(format!("[`{test}`](../{file})"));
            }
        }
    }
    assert!(missing.is_empty(), "{missing:#?}");
}

/// Returns the functions with a test attribute, and those that a macro turns into tests.
fn tests(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut lines = text.lines().peekable();
    while let Some(line) = lines.next() {
        if line.starts_with("#[tokio::test") || line == "#[test]" {
            let function = lines.peek().expect("a test's function");
            let (_, name) = function.split_once("fn ").expect("a test's function");
            found.push(name.split('(').next().unwrap_or_default().to_owned());
        }
        if let Some(first) = line
            .strip_prefix("on_each_")
            .and_then(|line| line.split_once("!("))
        {
            let mut names = first.1.to_owned();
            while !names.contains(");") {
                names.push_str(lines.next().expect("the macro's end").trim());
            }
            let names = names.split(");").next().unwrap_or_default();
            let names = names
                .split(',')
                .map(str::trim)
                .filter(|name| !name.is_empty());
            found.extend(names.map(str::to_owned));
        }
    }
    found
}
