//! Tests that `.env.example` and `docs/configuration.md` agree with the tables of settings.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use crate::settings::{DatabaseUrl, Settings, Variable, variables};

fn file(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(name);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn default(setting: &Variable) -> String {
    setting
        .default()
        .map_or_else(|| "none".to_owned(), |default| format!("`{default}`"))
}

/// Returns the table of variables that the guide must have between its two marks.
fn table_of_variables() -> String {
    let head = "| variable | in a config file | default | what it means |\n|---|---|---|---|\n";
    let mut table = head.to_owned();
    for variable in Settings::variables() {
        writeln!(
            table,
            "| `{}` | `{}` | {} | {} |",
            variable.name(),
            variable.field(),
            default(variable),
            variable.meaning()
        )
        .unwrap();
    }
    table
}

/// Returns the table of the settings that have no variable.
fn table_of_others() -> String {
    let head = "| setting | default | what it means |\n|---|---|---|\n";
    let mut table = head.to_owned();
    for setting in variables::WITHOUT_VARIABLE {
        writeln!(
            table,
            "| `{}` | {} | {} |",
            setting.field(),
            default(setting),
            setting.meaning()
        )
        .unwrap();
    }
    table
}

#[test]
fn the_guide_lists_exactly_the_settings_of_the_code() {
    let guide = file("docs/configuration.md");
    for (mark, expected) in [
        ("variables", table_of_variables()),
        ("settings without a variable", table_of_others()),
    ] {
        let (_, after) = guide.split_once(&format!("<!-- {mark} -->\n")).unwrap();
        let (listed, _) = after
            .split_once(&format!("<!-- end of {mark} -->"))
            .unwrap();
        assert!(
            listed == expected,
            "docs/configuration.md: expected between the marks:\n{expected}"
        );
    }
}

#[test]
fn the_meaning_of_a_setting_names_no_former_variable() {
    for setting in variables::all() {
        for other in variables::WITHOUT_VARIABLE {
            assert!(!setting.meaning().contains(other.name()));
        }
    }
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
