//! Real OpenTelemetry Collectors, and what arrived at them.

use std::ffi::OsString;
use std::fs;
use std::path::PathBuf;

use rustix::process::Signal;
use serde_json::Value;

use super::answers::{answers, listens};
use super::folder::Folder;
use super::otlp::{self, Log, Point, Span};
use super::ports::free_port;
use super::programs;
use super::server::Server;
use super::waiting::found;

/// A collector on 127.0.0.1 that takes OTLP and keeps everything.
///
/// What was sent is readable about half a second later, and still is when it was stopped.
pub struct Collector {
    server: Server,
    ports: Ports,
}

/// Where it listens.
#[derive(Clone, Copy, Debug)]
struct Ports {
    grpc: u16,
    http: u16,
    prometheus: u16,
    health: u16,
}

/// How a [`Collector`] differs from the usual.
#[derive(Clone, Debug, Default)]
pub struct Options {
    jaeger: Option<u16>,
}

impl Options {
    pub fn new() -> Self {
        Self::default()
    }

    /// Sends traces on to this port too, where OTLP over gRPC is spoken: Jaeger's.
    pub fn jaeger(mut self, port: u16) -> Self {
        self.jaeger = Some(port);
        self
    }
}

impl Collector {
    /// Starts a new one (a tenth of a second), or says that the test is skipped and why.
    pub fn start(options: Options) -> Option<Self> {
        let program = programs::find_or_skip("otelcol")?;
        let ports = Ports {
            grpc: free_port(),
            http: free_port(),
            prometheus: free_port(),
            health: free_port(),
        };
        let folder = Folder::new("collector", None, "TERM");
        let arguments = configure(&folder, ports, options.jaeger);
        let mut collector = Collector {
            server: Server::new("the collector", folder, Signal::TERM, (program, arguments)),
            ports,
        };
        collector.start_again();
        Some(collector)
    }

    /// For `OTEL_EXPORTER_OTLP_ENDPOINT` with the protocol `grpc`.
    pub fn grpc_endpoint(&self) -> String {
        format!("http://127.0.0.1:{}", self.ports.grpc)
    }

    /// For `OTEL_EXPORTER_OTLP_ENDPOINT` with the protocol `http/protobuf`, the default one.
    pub fn http_endpoint(&self) -> String {
        format!("http://127.0.0.1:{}", self.ports.http)
    }

    /// Where Prometheus finds the metrics that arrived: host and port, the path is `/metrics`.
    pub fn prometheus_target(&self) -> String {
        format!("127.0.0.1:{}", self.ports.prometheus)
    }

    /// Every span that has arrived, in that order.
    pub fn spans(&self) -> Vec<Span> {
        self.read("traces").iter().flat_map(otlp::spans).collect()
    }

    /// The last point of every metric with its attributes.
    pub fn metrics(&self) -> Vec<Point> {
        let points = self.read("metrics");
        otlp::latest(points.iter().flat_map(otlp::points))
    }

    /// Every log record that has arrived, in that order.
    pub fn logs(&self) -> Vec<Log> {
        self.read("logs").iter().flat_map(otlp::logs).collect()
    }

    /// Waits for spans that are as wanted, and gives all there are then.
    ///
    /// # Panics
    /// When there are none after a minute; so do the others.
    pub async fn spans_when(&self, wanted: impl Fn(&[Span]) -> bool) -> Vec<Span> {
        let read = || self.spans();
        self.when(read, wanted, |span| span.name.clone()).await
    }

    /// Waits for metrics that are as wanted.
    pub async fn metrics_when(&self, wanted: impl Fn(&[Point]) -> bool) -> Vec<Point> {
        let read = || self.metrics();
        let name =
            |point: &Point| format!("{} {:?} {:?}", point.name, point.attributes, point.value);
        self.when(read, wanted, name).await
    }

    /// Waits for log records that are as wanted.
    pub async fn logs_when(&self, wanted: impl Fn(&[Log]) -> bool) -> Vec<Log> {
        let read = || self.logs();
        self.when(read, wanted, |log| log.body.clone()).await
    }

    /// Stops it in good order: what it still has is written, and its ports refuse connections.
    pub fn stop(&mut self) {
        self.server.stop(Signal::TERM);
    }

    /// Starts it again, where and as it was; what arrived before is kept.
    pub fn start_again(&mut self) {
        let Ports {
            grpc, http, health, ..
        } = self.ports;
        self.server
            .start(|_| answers(health, "/") && listens(grpc) && listens(http));
    }

    /// Freezes it: connections stay open, the system even accepts new ones, and nothing answers.
    pub fn pause(&mut self) {
        self.server.pause();
    }

    /// Ends a [`pause`](Self::pause).
    pub fn resume(&mut self) {
        self.server.resume();
    }

    /// What it says of itself.
    pub fn log(&self) -> String {
        self.server.log()
    }

    /// Each line that is written to its end is one request of an exporter.
    fn read(&self, signal: &str) -> Vec<Value> {
        let file = self.server.folder.join(format!("{signal}.jsonl"));
        let bytes = fs::read(file).unwrap_or_default();
        let whole = bytes.iter().rposition(|&byte| byte == b'\n').unwrap_or(0);
        let lines = bytes[..whole].split(|&byte| byte == b'\n');
        let lines = lines.filter(|line| !line.is_empty());
        lines
            .map(|line| serde_json::from_slice(line).expect("the collector writes JSON"))
            .collect()
    }

    async fn when<T>(
        &self,
        read: impl Fn() -> Vec<T>,
        wanted: impl Fn(&[T]) -> bool,
        name: impl Fn(&T) -> String,
    ) -> Vec<T> {
        found("what was waited for", async || {
            let items = read();
            if wanted(&items) {
                return Ok(items);
            }
            let names: Vec<_> = items.iter().map(&name).collect();
            let names = names.join("\n");
            Err(format!("{names}\nthe collector says:\n{}", self.log()))
        })
        .await
    }
}

fn configure(folder: &Folder, ports: Ports, jaeger: Option<u16>) -> Vec<OsString> {
    let fill = |template: &str| {
        template
            .replace("${env:FOLDER}", &folder.path().to_string_lossy())
            .replace("${env:GRPC_PORT}", &ports.grpc.to_string())
            .replace("${env:HTTP_PORT}", &ports.http.to_string())
            .replace("${env:PROMETHEUS_PORT}", &ports.prometheus.to_string())
            .replace("${env:HEALTH_PORT}", &ports.health.to_string())
            .replace("${env:JAEGER_PORT}", &jaeger.unwrap_or(0).to_string())
    };
    let argument = |file: PathBuf| {
        let mut argument = OsString::from("--config=");
        argument.push(file);
        argument
    };
    let base = fill(include_str!("collector/config.yaml"));
    let mut arguments = vec![argument(folder.write("config.yaml", base))];
    if jaeger.is_some() {
        let over = fill(include_str!("collector/jaeger.yaml"));
        arguments.push(argument(folder.write("jaeger.yaml", over)));
    }
    arguments
}
