//! The expressions of the dashboard and of the alerts, ready to query.

use serde_json::Value;

use crate::repository_files;

pub const DASHBOARD: &str = "examples/stack/grafana/dashboards/poolscope.json";
pub const RULES: &str = "examples/stack/prometheus/rules.yml";

/// An expression and its panel or alert.
#[derive(Clone, Debug)]
pub struct Expression {
    pub of: String,
    pub text: String,
}

/// The value that Grafana substitutes for "All".
pub const ALL: &str = ".+";

/// Every expression of every panel, as Grafana queries it for this service and instance.
pub fn of_dashboard(job: &str, instance: &str) -> Vec<Expression> {
    let dashboard = repository_files::json(DASHBOARD);
    let mut expressions = Vec::new();
    for panel in list(&dashboard["panels"]) {
        for target in list(&panel["targets"]) {
            let expression = text(&target["expr"])
                .replace("$__rate_interval", "20s")
                .replace("$__range", "5m")
                .replace("$job", job)
                .replace("$instance", instance)
                .replace("$pool", ALL);
            assert!(
                !expression.contains('$'),
                "a variable that is not known here: {expression}"
            );
            expressions.push(Expression {
                of: format!("{} {}", text(&panel["title"]), text(&target["refId"])),
                text: expression,
            });
        }
    }
    expressions
}

/// Every alert's expression, with `bool` comparisons: a silent alert has no data, but with `bool` it has,
/// if and only if both sides of each comparison do.
pub fn of_alerts() -> Vec<Expression> {
    let rules = repository_files::yaml(RULES);
    let groups = list(&rules["groups"]);
    groups
        .flat_map(|group| list(&group["rules"]))
        .map(|rule| Expression {
            of: text(&rule["alert"]),
            text: with_bool(&text(&rule["expr"])),
        })
        .collect()
}

/// Turns `a > b` into `a > bool b`. The rules have spaces around each comparison, and no text contains one.
fn with_bool(expression: &str) -> String {
    let words = expression.split_whitespace().map(|word| match word {
        "<" | "<=" | ">" | ">=" | "==" | "!=" => format!("{word} bool"),
        _ => word.to_owned(),
    });
    let changed = words.collect::<Vec<_>>().join(" ");
    assert!(changed.contains(" bool "), "no comparison in {expression}");
    changed
}

pub fn list(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

pub fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}
