//! Real Prometheus servers, and the results of their scrapes.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::PathBuf;

use rustix::process::Signal;
use serde_json::Value;

use super::answers::answers;
use super::folder::Folder;
use super::http;
use super::ports::free_port;
use super::programs;
use super::server::Server;
use super::waiting::found;

/// A Prometheus on 127.0.0.1 that scrapes once a second.
pub struct Prometheus {
    server: Server,
    port: u16,
}

/// The targets and rules of a [`Prometheus`].
#[derive(Clone, Debug, Default)]
pub struct Options {
    jobs: String,
    rules: Vec<PathBuf>,
}

/// One series of a response.
#[derive(Clone, Debug, PartialEq)]
pub struct Sample {
    pub labels: BTreeMap<String, String>,
    pub value: f64,
}

/// A scrape target.
#[derive(Clone, Debug)]
pub struct Target {
    pub job: String,
    /// `up`, `down`, or `unknown` before the first scrape.
    pub health: String,
    pub last_error: String,
}

impl Options {
    pub fn new() -> Self {
        Self::default()
    }

    /// Scrapes `path` of `target`, which is a host and a port.
    pub fn scrape(self, job: &str, target: &str, path: &str) -> Self {
        self.scrape_config(&format!(
            "  - job_name: '{job}'\n    metrics_path: '{path}'\n    static_configs:\n      \
             - targets: ['{target}']\n"
        ))
    }

    /// Adds this YAML to the list `scrape_configs`.
    pub fn scrape_config(mut self, yaml: &str) -> Self {
        self.jobs.push_str(yaml);
        self
    }

    /// Loads a rule file.
    pub fn rules(mut self, file: impl Into<PathBuf>) -> Self {
        self.rules.push(file.into());
        self
    }

    fn config(&self) -> String {
        let rules: Vec<_> = self
            .rules
            .iter()
            .map(|file| format!("  - '{}'\n", file.display()))
            .collect();
        format!(
            "global:\n  scrape_interval: 1s\n  evaluation_interval: 1s\nrule_files:\n{}\
             scrape_configs:\n{}",
            rules.concat(),
            self.jobs
        )
    }
}

impl Prometheus {
    /// Starts one (1 s), or prints why the test is skipped. The first scrape is some seconds later.
    pub fn start(options: &Options) -> Option<Self> {
        let program = programs::find_or_skip("prometheus")?;
        let port = free_port();
        let folder = Folder::new("prometheus", None, "TERM");
        let argument = |name: &str, file: PathBuf| {
            let mut argument = OsString::from(name);
            argument.push(file);
            argument
        };
        let arguments = vec![
            argument(
                "--config.file=",
                folder.write("config.yaml", options.config()),
            ),
            argument("--storage.tsdb.path=", folder.join("data")),
            format!("--web.listen-address=127.0.0.1:{port}").into(),
            "--log.level=warn".into(),
        ];
        let command = (program, arguments);
        let mut prometheus = Prometheus {
            server: Server::new("Prometheus", folder, Signal::TERM, command),
            port,
        };
        prometheus.server.start(|_| answers(port, "/-/ready"));
        Some(prometheus)
    }

    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// Evaluates an expression now; a scalar has no labels.
    ///
    /// # Panics
    /// If Prometheus rejects the expression.
    pub async fn query(&self, expression: &str) -> Vec<Sample> {
        let query: String = expression
            .bytes()
            .map(|byte| format!("%{byte:02X}"))
            .collect();
        let path = format!("/api/v1/query?query={query}");
        let answer = http::get(&format!("{}{path}", self.url())).await.json();
        assert_eq!(answer["status"], "success", "{expression}: {answer}");
        let data = &answer["data"];
        match data["resultType"].as_str() {
            Some("scalar") => vec![Sample::read(&Value::Null, &data["result"])],
            _ => {
                let series = data["result"].as_array().into_iter().flatten();
                series
                    .map(|series| Sample::read(&series["metric"], &series["value"]))
                    .collect()
            }
        }
    }

    /// Waits until `wanted` accepts the value of an expression.
    ///
    /// # Panics
    /// After [`PATIENCE`](super::waiting::PATIENCE).
    pub async fn query_when(
        &self,
        expression: &str,
        wanted: impl Fn(&[Sample]) -> bool,
    ) -> Vec<Sample> {
        found(expression, async || {
            let samples = self.query(expression).await;
            if wanted(&samples) {
                return Ok(samples);
            }
            let (targets, log) = (self.targets().await, self.server.log());
            Err(format!("{samples:?}; {targets:?}\n{log}"))
        })
        .await
    }

    /// The scrape targets with their health.
    pub async fn targets(&self) -> Vec<Target> {
        let answer = self.ask("/api/v1/targets?state=active").await;
        let targets = answer["data"]["activeTargets"].as_array();
        let targets = targets.into_iter().flatten();
        targets
            .map(|target| Target {
                job: text(&target["labels"]["job"]),
                health: text(&target["health"]),
                last_error: text(&target["lastError"]),
            })
            .collect()
    }

    /// Waits until the last scrape of every target succeeded. On a busy machine a scrape may exceed its
    /// limit of one second.
    ///
    /// # Panics
    /// After [`PATIENCE`](super::waiting::PATIENCE).
    pub async fn scraped(&self) {
        found("all targets are up", async || {
            let targets = self.targets().await;
            if !targets.is_empty() && targets.iter().all(|target| target.health == "up") {
                return Ok(());
            }
            Err(format!("{targets:?}\n{}", self.server.log()))
        })
        .await;
    }

    /// The loaded rules, as its API returns them.
    pub async fn rules(&self) -> Vec<Value> {
        let answer = self.ask("/api/v1/rules").await;
        let groups = answer["data"]["groups"].as_array().into_iter().flatten();
        let rules = groups.flat_map(|group| group["rules"].as_array().into_iter().flatten());
        rules.cloned().collect()
    }

    /// The names of pending and firing alerts.
    pub async fn alerts(&self) -> Vec<String> {
        let answer = self.ask("/api/v1/alerts").await;
        let alerts = answer["data"]["alerts"].as_array().into_iter().flatten();
        alerts
            .map(|alert| text(&alert["labels"]["alertname"]))
            .collect()
    }

    pub fn log(&self) -> String {
        self.server.log()
    }

    async fn ask(&self, path: &str) -> Value {
        let answer = http::get(&format!("{}{path}", self.url())).await;
        assert!(answer.status.is_success(), "{path}: {}", answer.text());
        answer.json()
    }
}

impl Sample {
    fn read(labels: &Value, value: &Value) -> Self {
        let labels = labels.as_object().into_iter().flatten();
        Sample {
            labels: labels
                .map(|(name, value)| (name.clone(), text(value)))
                .collect(),
            // Prometheus writes numbers as text, because of NaN and infinities.
            value: text(&value[1]).parse().expect("a number"),
        }
    }
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}
