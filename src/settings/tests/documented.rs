//! Tests that `.env.example` and `docs/configuration.md` agree with the table of variables.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use crate::settings::{DatabaseUrl, Settings, Variable};

fn file(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(name);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Returns the table that the guide must have between its two marks.
fn table() -> String {
    let head = "| variable | in a config file | default | what it means |\n|---|---|---|---|\n";
    let mut table = head.to_owned();
    for variable in Settings::variables() {
        let default = variable
            .default()
            .map_or_else(|| "none".to_owned(), |default| format!("`{default}`"));
        writeln!(
            table,
            "| `{}` | `{}` | {default} | {} |",
            variable.name(),
            variable.field(),
            variable.meaning()
        )
        .unwrap();
    }
    table
}

#[test]
fn the_guide_lists_exactly_the_variables_of_the_code() {
    let guide = file("docs/configuration.md");
    let (_, after) = guide.split_once("<!-- variables -->\n").unwrap();
    let (listed, _) = after.split_once("<!-- end of variables -->").unwrap();
    let expected = table();
    assert!(
        listed == expected,
        "docs/configuration.md: expected between the marks:\n{expected}"
    );
}

#[test]
fn the_example_lists_exactly_the_variables_of_the_code() {
    let example = file(".env.example");
    let mut listed = Vec::new();
    let mut comment = String::new();
    for line in example.lines() {
        // `# text` is a comment, `#NAME=value` a variable at its default.
        match (
            line.strip_prefix("# "),
            line.trim_start_matches('#').split_once('='),
        ) {
            (Some(text), _) => {
                comment.push_str(text);
                comment.push(' ');
            }
            (None, Some((name, value))) => {
                let variable = Settings::variables()
                    .iter()
                    .find(|variable| variable.name() == name)
                    .unwrap_or_else(|| panic!("{name} is not a variable"));
                assert!(comment.contains(variable.meaning()), "{name}: {comment}");
                if name == "DATABASE_URL" {
                    assert!(DatabaseUrl::from(value).database_kind().is_some());
                } else {
                    assert!(line.starts_with('#'), "{name} is not commented out");
                    assert_eq!(value, variable.default().unwrap_or_default(), "{name}");
                }
                listed.push(name);
            }
            (None, None) => comment.clear(),
        }
    }
    let expected: Vec<_> = Settings::variables().iter().map(Variable::name).collect();
    assert_eq!(listed, expected);
}

#[test]
fn the_example_with_every_line_uncommented_is_the_defaults() {
    let example = file(".env.example");
    let settings = Settings::from_lookup("", |name| {
        example
            .lines()
            .filter_map(|line| line.trim_start_matches('#').split_once('='))
            .find(|(known, _)| *known == name)
            .map(|(_, value)| value.into())
    });
    assert_eq!(settings.unwrap(), Settings::new("sqlite://app.db"));
}

#[test]
fn the_guide_shows_the_actual_error() {
    let error = Settings::from_lookup("", |name| match name {
        "DATABASE_URL" => Some("postgresql+asyncpg://app:secret@db/shop".into()),
        "DB_POOL_SIZE" => Some("ten".into()),
        "DB_MAX_OVERFLOW" => Some("-1".into()),
        "DB_POOL_TIMEOUT" => Some("soon".into()),
        _ => None,
    })
    .unwrap_err();
    assert!(file("docs/configuration.md").contains(&format!("```text\n{error}\n```")));
}
