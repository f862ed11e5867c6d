//! The Prometheus rules, checked by promtool.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;

use crate::expressions::{RULES, list, text};
use crate::repository_files;
use crate::support::programs;
use crate::support::server::output_of;

const TESTS: &str = "examples/stack/prometheus/rules.test.yml";
const GUIDE: &str = "docs/troubleshooting.md";

#[test]
fn promtool_accepts_the_rules_and_the_configuration() {
    let Some(promtool) = programs::find_or_skip("promtool") else {
        return;
    };
    for (kind, file) in [
        ("rules", RULES),
        ("config", "examples/stack/prometheus/prometheus.yml"),
    ] {
        let check = ["check", kind];
        run(&promtool, &check, file);
    }
}

/// `rules.test.yml` has a firing and a silent case of each alert.
#[test]
fn every_alert_passes_its_rule_tests() {
    let Some(promtool) = programs::find_or_skip("promtool") else {
        return;
    };
    run(&promtool, &["test", "rules"], TESTS);
}

#[test]
fn every_alert_has_a_firing_and_a_silent_test() {
    let alerts: BTreeSet<_> = alerts().into_keys().collect();
    assert_eq!(alerts.len(), 9);

    let (mut firing, mut silent) = (BTreeSet::new(), BTreeSet::new());
    for test in list(&repository_files::yaml(TESTS)["tests"]) {
        let instances = list(&test["input_series"]).map(|series| {
            let series = text(&series["series"]);
            let (_, rest) = series.split_once("instance=\"").expect("an instance");
            rest.split_once('"').expect("its end").0.to_owned()
        });
        let instances: BTreeSet<_> = instances.collect();
        for case in list(&test["alert_rule_test"]) {
            let alert = text(&case["alertname"]);
            let fires = list(&case["exp_alerts"]).count();
            if fires > 0 {
                firing.insert(alert.clone());
                // The test has other instances too, for which the alert must be silent.
                assert!(fires < instances.len(), "{alert}");
            } else {
                silent.insert(alert);
            }
        }
    }
    assert_eq!((&firing, &silent), (&alerts, &alerts));
}

#[test]
fn every_alert_has_a_severity_and_a_guide() {
    let headings = headings();
    for (alert, rule) in alerts() {
        let severity = text(&rule["labels"]["severity"]);
        assert!(["critical", "warning"].contains(&&*severity), "{alert}");
        assert!(rule["for"].is_string(), "{alert}");
        let annotations = &rule["annotations"];
        let (summary, description) = (&annotations["summary"], &annotations["description"]);
        assert!(
            text(summary).contains("$labels.db_client_connection_pool_name"),
            "{alert}"
        );
        assert!(text(description).contains("$labels.instance"), "{alert}");

        let url = text(&annotations["runbook_url"]);
        let (page, anchor) = url.split_once('#').unwrap_or((&url, ""));
        assert!(page.ends_with(GUIDE), "{alert}: {page}");
        assert!(headings.contains(anchor), "{alert}: no {anchor} in {GUIDE}");
    }
}

/// The alerts by name.
fn alerts() -> BTreeMap<String, serde_json::Value> {
    let rules = repository_files::yaml(RULES);
    let groups = list(&rules["groups"]);
    groups
        .flat_map(|group| list(&group["rules"]))
        .map(|rule| (text(&rule["alert"]), rule.clone()))
        .collect()
}

/// The anchors of the guide's headings: `## High overflow` is `high-overflow`.
fn headings() -> BTreeSet<String> {
    let guide = repository_files::text(GUIDE);
    let headings = guide.lines().filter_map(|line| line.strip_prefix("## "));
    let anchor = |heading: &str| heading.to_lowercase().replace(' ', "-");
    headings.map(anchor).collect()
}

/// Runs promtool in the file's folder, because the file has relative paths.
fn run(promtool: &Path, arguments: &[&str], file: &str) {
    let file = repository_files::path(file);
    let mut command = Command::new(promtool);
    command
        .args(arguments)
        .arg(file.file_name().expect("a file"))
        .current_dir(file.parent().expect("its folder"));
    output_of(&mut command).unwrap_or_else(|error| panic!("{error}"));
}
