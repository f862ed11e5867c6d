//! Real Jaegers, and the traces in them.

use std::collections::BTreeMap;
use std::ffi::OsString;

use rustix::process::Signal;
use serde_json::Value;

use super::answers::{answers, listens};
use super::folder::Folder;
use super::http;
use super::ports::free_port;
use super::programs;
use super::server::Server;
use super::waiting::found;

/// A Jaeger on 127.0.0.1 that keeps traces in memory.
pub struct Jaeger {
    server: Server,
    grpc: u16,
    http: u16,
    query: u16,
}

/// A trace, as far as it has arrived.
#[derive(Clone, Debug)]
pub struct Trace {
    pub id: String,
    /// Ordered by start.
    pub spans: Vec<Span>,
}

/// A span as Jaeger returns it.
#[derive(Clone, Debug)]
pub struct Span {
    pub id: String,
    pub parent_id: Option<String>,
    pub name: String,
    /// Microseconds since 1970, Jaeger's precision.
    pub start: u64,
    pub duration: u64,
    /// The span's attributes, and those that Jaeger adds: `span.kind`, `otel.scope.name`,
    /// `otel.status_code`, `error`.
    pub tags: BTreeMap<String, Value>,
    pub events: Vec<BTreeMap<String, Value>>,
    pub service: String,
    /// Attributes of the resource.
    pub process: BTreeMap<String, Value>,
}

impl Jaeger {
    /// Starts a Jaeger (0.1 s), or prints why the test is skipped.
    pub fn start() -> Option<Self> {
        let program = programs::find_or_skip("jaeger")?;
        let [grpc, http, query, query_grpc] = std::array::from_fn(|_| free_port());
        // A graceful end would take ten seconds.
        let folder = Folder::new("jaeger", None, "KILL");
        let config = include_str!("jaeger/config.yaml")
            .replace("${env:GRPC_PORT}", &grpc.to_string())
            .replace("${env:HTTP_PORT}", &http.to_string())
            .replace("${env:QUERY_PORT}", &query.to_string())
            .replace("${env:QUERY_GRPC_PORT}", &query_grpc.to_string());
        let mut argument = OsString::from("--config=");
        argument.push(folder.write("config.yaml", config));
        let command = (program, vec![argument]);
        let mut jaeger = Jaeger {
            server: Server::new("Jaeger", folder, Signal::KILL, command),
            grpc,
            http,
            query,
        };
        jaeger
            .server
            .start(|_| listens(grpc) && listens(http) && answers(query, "/api/services"));
        Some(jaeger)
    }

    /// The port for OTLP over gRPC from a collector.
    pub fn grpc_port(&self) -> u16 {
        self.grpc
    }

    /// The endpoint for `http/protobuf`.
    pub fn http_endpoint(&self) -> String {
        format!("http://127.0.0.1:{}", self.http)
    }

    /// The URL of its API.
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.query)
    }

    /// The services that have traces.
    pub async fn services(&self) -> Vec<String> {
        let answer = self.ask("/api/services").await;
        let names = answer["data"].as_array().into_iter().flatten();
        names.map(text).collect()
    }

    /// The last 1000 traces of a service.
    pub async fn traces(&self, service: &str) -> Vec<Trace> {
        let answer = self
            .ask(&format!("/api/traces?service={service}&limit=1000"))
            .await;
        let traces = answer["data"].as_array().into_iter().flatten();
        traces.map(Trace::read).collect()
    }

    /// Waits for a trace of the service that `wanted` accepts.
    ///
    /// # Panics
    /// After [`PATIENCE`](super::waiting::PATIENCE).
    pub async fn trace_when(&self, service: &str, wanted: impl Fn(&Trace) -> bool) -> Trace {
        found(&format!("a trace of {service}"), async || {
            let traces = self.traces(service).await;
            if let Some(trace) = traces.iter().find(|trace| wanted(trace)) {
                return Ok(trace.clone());
            }
            let names = traces.iter().map(Trace::outline).collect::<Vec<_>>();
            let names = names.join("\n");
            Err(format!("{names}\nJaeger's log:\n{}", self.server.log()))
        })
        .await
    }

    async fn ask(&self, path: &str) -> Value {
        let answer = http::get(&format!("{}{path}", self.url())).await;
        assert!(answer.status.is_success(), "{path}: {}", answer.text());
        answer.json()
    }
}

impl Trace {
    /// The span without a parent in this trace, if it has arrived.
    pub fn root(&self) -> Option<&Span> {
        self.spans
            .iter()
            .find(|span| self.parent_of(span).is_none())
    }

    pub fn parent_of(&self, span: &Span) -> Option<&Span> {
        let parent = span.parent_id.as_ref()?;
        self.spans.iter().find(|span| span.id == *parent)
    }

    pub fn children_of(&self, parent: &Span) -> Vec<&Span> {
        let is_child = |span: &&Span| span.parent_id.as_ref() == Some(&parent.id);
        self.spans.iter().filter(is_child).collect()
    }

    pub fn named(&self, name: &str) -> Vec<&Span> {
        let spans = self.spans.iter();
        spans.filter(|span| span.name == name).collect()
    }

    /// The span names, each after its parent's.
    pub fn outline(&self) -> String {
        let line = |span: &Span| match self.parent_of(span) {
            Some(parent) => format!("{} > {}", parent.name, span.name),
            None => span.name.clone(),
        };
        let lines: Vec<_> = self.spans.iter().map(line).collect();
        format!("{}: {}", self.id, lines.join(", "))
    }

    fn read(trace: &Value) -> Self {
        let processes = &trace["processes"];
        let spans = trace["spans"].as_array().into_iter().flatten();
        let mut spans: Vec<_> = spans.map(|span| Span::read(span, processes)).collect();
        spans.sort_by_key(|span| span.start);
        Trace {
            id: text(&trace["traceID"]),
            spans,
        }
    }
}

impl Span {
    fn read(span: &Value, processes: &Value) -> Self {
        let references = span["references"].as_array().into_iter().flatten();
        let mut parents = references.filter(|reference| reference["refType"] == "CHILD_OF");
        let process = &processes[text(&span["processID"])];
        let events = span["logs"].as_array().into_iter().flatten();
        Span {
            id: text(&span["spanID"]),
            parent_id: parents.next().map(|parent| text(&parent["spanID"])),
            name: text(&span["operationName"]),
            start: span["startTime"].as_u64().unwrap_or_default(),
            duration: span["duration"].as_u64().unwrap_or_default(),
            tags: tags(&span["tags"]),
            events: events.map(|event| tags(&event["fields"])).collect(),
            service: text(&process["serviceName"]),
            process: tags(&process["tags"]),
        }
    }
}

fn tags(list: &Value) -> BTreeMap<String, Value> {
    let list = list.as_array().into_iter().flatten();
    list.map(|tag| (text(&tag["key"]), tag["value"].clone()))
        .collect()
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}
