//! The dashboard's JSON: Grafana accepts it, and every panel is explained.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::expressions::{DASHBOARD, list, text};
use crate::repository_files;

/// The schema of Grafana 12, which later versions read.
const SCHEMA: u64 = 41;

#[test]
fn every_panel_has_a_title_and_a_description() {
    for panel in panels() {
        let title = text(&panel["title"]);
        assert!(!title.is_empty(), "{panel}");
        assert!(text(&panel["description"]).len() > 20, "{title}");
        assert!(
            panel["fieldConfig"]["defaults"]["unit"].is_string(),
            "{title}"
        );
        assert_eq!(panel["datasource"]["uid"], "${datasource}", "{title}");

        let targets: Vec<_> = list(&panel["targets"]).collect();
        assert!(!targets.is_empty(), "{title}");
        let names: BTreeSet<_> = targets
            .iter()
            .map(|target| text(&target["refId"]))
            .collect();
        assert_eq!(names.len(), targets.len(), "{title}");
        let needs_legends = panel["type"] == "timeseries";
        for target in targets {
            assert!(!text(&target["expr"]).is_empty(), "{title}");
            let legend = text(&target["legendFormat"]);
            assert!(!needs_legends || !legend.is_empty(), "{title}");
        }
    }
}

/// The five panels of the first dashboard.
#[test]
fn the_essential_panels_exist() {
    let titles: Vec<_> = panels().iter().map(|panel| text(&panel["title"])).collect();
    for wanted in [
        "Utilization",
        "Checked out",
        "Overflow",
        "Timeouts a minute",
        "Idle in transaction",
    ] {
        assert!(titles.iter().any(|title| title == wanted), "{wanted}");
    }
}

#[test]
fn no_panel_covers_another() {
    let dashboard = repository_files::json(DASHBOARD);
    let mut cells = BTreeSet::new();
    let mut ids = BTreeSet::new();
    for panel in list(&dashboard["panels"]) {
        assert!(
            ids.insert(panel["id"].as_u64().expect("a number")),
            "{panel}"
        );
        let side = |name: &str| panel["gridPos"][name].as_u64().expect("a number");
        assert!(side("x") + side("w") <= 24, "{panel}");
        for x in side("x")..side("x") + side("w") {
            for y in side("y")..side("y") + side("h") {
                assert!(cells.insert((x, y)), "{}", panel["title"]);
            }
        }
    }
}

/// One replica or the whole fleet: each series is filtered by all three variables, and values that
/// cannot be added up are not.
#[test]
fn the_variables_filter_every_panel() {
    let dashboard = repository_files::json(DASHBOARD);
    assert_eq!(dashboard["schemaVersion"], SCHEMA);
    assert_eq!(dashboard["uid"], "poolscope");
    assert!(dashboard.get("__inputs").is_none(), "provisioned as it is");

    let variables: Vec<_> = list(&dashboard["templating"]["list"]).collect();
    assert_eq!(variables[0]["type"], "datasource");
    for (variable, name) in variables[1..].iter().zip(["job", "pool", "instance"]) {
        assert_eq!(variable["name"], name);
        assert_eq!(
            (&variable["multi"], &variable["includeAll"]),
            (&true.into(), &true.into())
        );
        assert_eq!(variable["allValue"], ".+");
    }
    assert_eq!(variables.len(), 4);

    let chosen = r#"{job=~"$job", instance=~"$instance", db_client_connection_pool_name=~"$pool""#;
    for panel in panels() {
        for target in list(&panel["targets"]) {
            let expression = text(&target["expr"]);
            let series = expression.matches('{').count();
            assert!(series > 0, "{expression}");
            assert_eq!(expression.matches(chosen).count(), series, "{expression}");
            if expression.contains("histogram_quantile") {
                assert!(expression.contains("le) (rate("), "{expression}");
            }
        }
    }
}

fn panels() -> Vec<Value> {
    let dashboard = repository_files::json(DASHBOARD);
    let panels = list(&dashboard["panels"]);
    let panels = panels.filter(|panel| panel["type"] != "row");
    panels.cloned().collect()
}
