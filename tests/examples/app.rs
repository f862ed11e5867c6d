//! Runs an example that is a server, on a free port.

use http::{Method, StatusCode};
use serde_json::Value;

use crate::support::http::{self as client, Response};
use crate::support::process::Example;
use crate::support::waiting::found;

pub struct App {
    pub example: Example,
    pub url: String,
}

impl App {
    /// Starts the example and waits until it listens.
    pub fn start(name: &str, environment: &[(&str, &str)]) -> Self {
        let environment = [environment, &[("PORT", "0")]].concat();
        let example = Example::start(name, &environment);
        let line = example.wait_for("listening on ");
        let (_, url) = line
            .split_once("listening on ")
            .expect("the line was waited for");
        App {
            url: url.to_owned(),
            example,
        }
    }

    /// The quickstart without its own traffic.
    pub fn quiet(environment: &[(&str, &str)]) -> Self {
        let environment = [environment, &[("QUICKSTART_TRAFFIC", "off")]].concat();
        Self::start("quickstart", &environment)
    }

    pub fn url_of(&self, path: &str) -> String {
        format!("{}{path}", self.url)
    }

    pub async fn get(&self, path: &str) -> Response {
        client::get(&self.url_of(path)).await
    }

    pub async fn post(&self, path: &str, body: &str) -> Response {
        client::send(Method::POST, &self.url_of(path), body.to_owned()).await
    }

    /// The answer of a monitoring route.
    pub async fn ask(&self, report: &str) -> Response {
        self.get(&format!("/api/v1/monitoring/pool/{report}")).await
    }

    /// A report, which must be a 200.
    pub async fn report(&self, report: &str) -> Value {
        let answer = self.ask(report).await;
        assert_eq!(answer.status, StatusCode::OK, "{report}: {}", answer.text());
        answer.json()
    }

    /// Requests a monitoring route until the answer is as wanted.
    pub async fn until(&self, report: &str, wanted: impl Fn(&Response) -> bool) -> Response {
        found(report, async || {
            let answer = self.ask(report).await;
            if wanted(&answer) {
                return Ok(answer);
            }
            Err(format!("{}\n{}", answer.text(), self.example.output()))
        })
        .await
    }

    /// Starts a request without waiting for its answer.
    pub fn begin(&self, path: &str) -> tokio::task::JoinHandle<Response> {
        let url = self.url_of(path);
        tokio::spawn(async move { client::get(&url).await })
    }
}

/// Checks the answer of poolscope and of the examples when there is no database.
pub fn assert_is_retriable(answer: &Response) {
    assert_eq!(
        answer.status,
        StatusCode::SERVICE_UNAVAILABLE,
        "{}",
        answer.text()
    );
    let seconds = answer.header("retry-after");
    assert!(seconds.parse::<u32>().is_ok(), "Retry-After: {seconds:?}");
    assert_is_problem(answer);
}

/// Checks the form of RFC 9457.
pub fn assert_is_problem(answer: &Response) {
    assert_eq!(answer.header("content-type"), "application/problem+json");
    assert_eq!(answer.json()["status"], answer.status.as_u16());
    assert!(answer.json()["detail"].is_string(), "{}", answer.text());
}
