//! Every expression of the dashboard and of the alerts has data in a Prometheus that scrapes a real
//! app under load, in each of the three ways.

use std::time::Duration;

use serde_json::json;
use tokio::task::JoinSet;
use tokio::time::sleep;

use crate::app::App;
use crate::expressions::{ALL, Expression, of_alerts, of_dashboard};
use crate::repository_files;
use crate::support::collector::{self, Collector};
use crate::support::http;
use crate::support::postgres::{self, Postgres};
use crate::support::prometheus::{self, Prometheus, Sample};

/// From the app's page, from `health` (the seed system's way), and through a collector, whose job is
/// the app's service.
const JOBS: [&str; 3] = ["shop", "laya-ai-pool", "shop-by-collector"];

/// Exists once a minute can be compared with the minutes before; the test is too short for it.
const TAKES_MINUTES: &str = "poolscope_advice_error";

#[tokio::test(flavor = "multi_thread")]
async fn every_expression_has_data_under_load() {
    let Some(collector) = Collector::start(collector::Options::new()) else {
        return;
    };
    let postgres = Postgres::start(postgres::Options::new());
    let app = start_app(&postgres, &collector);
    let Some(prometheus) = Prometheus::start(&scrapes(&app, &collector)) else {
        return;
    };
    add_users(&app).await;
    let load = begin_load(&app);
    prometheus.scraped().await;

    let expressions = JOBS.iter().flat_map(|job| of_dashboard(job, ALL));
    let expressions: Vec<_> = expressions
        .filter(|expression| !expression.text.contains(TAKES_MINUTES))
        .collect();
    assert!(expressions.len() > 100, "{}", expressions.len());
    for expression in &expressions {
        has_data(&prometheus, expression, &[""]).await;
    }
    let alerts = of_alerts();
    assert_eq!(alerts.len(), 9);
    for expression in &alerts {
        has_data(&prometheus, expression, &JOBS).await;
    }

    // Alerts fire: the app runs out of connections, and requests fail.
    let rules = prometheus.rules().await;
    assert_eq!(rules.len(), alerts.len());
    for alert in ["PoolExhausted", "PoolCheckoutTimeouts"] {
        let query = format!("last_over_time(ALERTS{{alertname={alert:?}}}[5m])");
        let for_each = |samples: &[Sample]| jobs_without(samples, &JOBS).is_empty();
        prometheus.query_when(&query, for_each).await;
    }
    let quiet = r#"last_over_time(ALERTS{alertname="PoolDatabaseUnreachable"}[5m])"#;
    assert_eq!(prometheus.query(quiet).await, []);
    drop(load);
}

fn start_app(postgres: &Postgres, collector: &Collector) -> App {
    App::quiet(&[
        ("DATABASE_URL", &postgres.url()),
        ("DB_POOL_SIZE", "2"),
        ("DB_MAX_OVERFLOW", "2"),
        ("DB_POOL_TIMEOUT", "1"),
        ("OTEL_SERVICE_NAME", JOBS[2]),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", &collector.http_endpoint()),
        ("OTEL_METRIC_EXPORT_INTERVAL", "1000"),
    ])
}

fn scrapes(app: &App, collector: &Collector) -> prometheus::Options {
    let app = app.url.trim_start_matches("http://");
    // The seed system's configuration, except for the port.
    let seed = format!(
        "  - job_name: 'laya-ai-pool'
    metrics_path: '/api/v1/monitoring/pool/health'
    static_configs:
      - targets: ['{app}']
"
    );
    let collected = format!(
        "  - job_name: collector-metrics
    honor_labels: true
    static_configs:
      - targets: ['{}']
",
        collector.prometheus_target()
    );
    prometheus::Options::new()
        .scrape(JOBS[0], app, "/api/v1/monitoring/pool/metrics")
        .scrape_config(&seed)
        .scrape_config(&collected)
        .rules(repository_files::path(crate::expressions::RULES))
}

/// Adds enough users that one query for each is an N+1.
async fn add_users(app: &App) {
    for number in 0..12 {
        let user = json!({ "name": "A user", "email": format!("{number}@example.org") });
        let answer = app.post("/users", &user.to_string()).await;
        assert!(answer.status.is_success(), "{}", answer.text());
    }
}

/// Runs until the value is dropped. Answers are ignored, because some are meant to fail. The sleeps shape
/// the load.
fn begin_load(app: &App) -> JoinSet<()> {
    let mut load = JoinSet::new();
    let forever = |path: &str| {
        let url = app.url_of(path);
        async move {
            loop {
                let _ = http::get(&url).await;
                sleep(Duration::from_millis(50)).await;
            }
        }
    };
    for path in [
        "/users",
        "/users/1/orders",
        "/n-plus-one",
        "/query?ms=40",
        "/transaction?ms=60",
    ] {
        load.spawn(forever(path));
    }
    // The same address again, which makes a query fail.
    let users = app.url_of("/users");
    load.spawn(async move {
        let taken = json!({ "name": "A user", "email": "0@example.org" });
        loop {
            http::post_json(&users, &taken).await;
            sleep(Duration::from_millis(100)).await;
        }
    });
    // Now and then twelve requests hold all four connections for longer than others may wait. In between
    // the overflow is closed.
    let slow = app.url_of("/slow?ms=1500");
    load.spawn(async move {
        loop {
            let mut together = JoinSet::new();
            for _ in 0..12 {
                let slow = slow.clone();
                together.spawn(async move { http::get(&slow).await });
            }
            together.join_all().await;
            sleep(Duration::from_millis(1500)).await;
        }
    });
    load
}

/// Waits until each job has samples, if samples have a job.
async fn has_data(prometheus: &Prometheus, expression: &Expression, jobs: &[&str]) {
    let has_data = |samples: &[Sample]| {
        let numbers: Vec<_> = samples
            .iter()
            .filter(|sample| !sample.value.is_nan())
            .cloned()
            .collect();
        jobs_without(&numbers, jobs).is_empty()
    };
    let Expression { of, text } = expression;
    println!("{of}: {text}");
    for sample in prometheus.query_when(text, has_data).await {
        println!("    {} {:?}", sample.value, sample.labels);
    }
}

fn jobs_without<'a>(samples: &[Sample], jobs: &[&'a str]) -> Vec<&'a str> {
    let has = |job: &&&str| {
        samples
            .iter()
            .any(|sample| sample.labels.get("job").map_or("", |job| job) == **job)
    };
    jobs.iter().filter(|job| !has(job)).copied().collect()
}
