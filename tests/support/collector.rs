//! Real OpenTelemetry Collectors, and the telemetry that they received.

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

/// A collector on 127.0.0.1 that receives OTLP and stores everything.
///
/// Telemetry is readable about half a second later, and remains readable after a stop.
pub struct Collector {
    server: Server,
    ports: Ports,
}

/// The ports it listens on.
#[derive(Clone, Copy, Debug)]
struct Ports {
    grpc: u16,
    http: u16,
    prometheus: u16,
    health: u16,
}

/// The configuration of a [`Collector`].
#[derive(Clone, Debug, Default)]
pub struct Options {
    jaeger: Option<u16>,
}

impl Options {
    pub fn new() -> Self {
        Self::default()
    }

    /// Also forwards traces to this port by OTLP over gRPC, to Jaeger.
    pub fn jaeger(mut self, port: u16) -> Self {
        self.jaeger = Some(port);
        self
    }
}

impl Collector {
    /// Starts a collector (0.1 s), or prints why the test is skipped.
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

    /// The endpoint for the protocol `grpc`.
    pub fn grpc_endpoint(&self) -> String {
        format!("http://127.0.0.1:{}", self.ports.grpc)
    }

    /// The endpoint for `http/protobuf`, the default protocol.
    pub fn http_endpoint(&self) -> String {
        format!("http://127.0.0.1:{}", self.ports.http)
    }

    /// The host and port where Prometheus scrapes the received metrics, at the path `/metrics`.
    pub fn prometheus_target(&self) -> String {
        format!("127.0.0.1:{}", self.ports.prometheus)
    }

    /// Returns every span received, in order of arrival.
    pub fn spans(&self) -> Vec<Span> {
        self.read("traces").iter().flat_map(otlp::spans).collect()
    }

    /// Returns the last point of each metric with its attributes.
    pub fn metrics(&self) -> Vec<Point> {
        let points = self.read("metrics");
        otlp::latest(points.iter().flat_map(otlp::points))
    }

    /// Returns every log record received, in order of arrival.
    pub fn logs(&self) -> Vec<Log> {
        self.read("logs").iter().flat_map(otlp::logs).collect()
    }

    /// Waits until `wanted` accepts the spans, and returns them.
    ///
    /// # Panics
    /// After [`PATIENCE`](super::waiting::PATIENCE), as the next two functions.
    pub async fn spans_when(&self, wanted: impl Fn(&[Span]) -> bool) -> Vec<Span> {
        let read = || self.spans();
        self.when(read, wanted, |span| span.name.clone()).await
    }

    /// Waits until `wanted` accepts the metrics.
    pub async fn metrics_when(&self, wanted: impl Fn(&[Point]) -> bool) -> Vec<Point> {
        let read = || self.metrics();
        let name =
            |point: &Point| format!("{} {:?} {:?}", point.name, point.attributes, point.value);
        self.when(read, wanted, name).await
    }

    /// Waits until `wanted` accepts the log records.
    pub async fn logs_when(&self, wanted: impl Fn(&[Log]) -> bool) -> Vec<Log> {
        let read = || self.logs();
        self.when(read, wanted, |log| log.body.clone()).await
    }

    /// Stops it gracefully: it writes what it has received, and its ports refuse connections.
    pub fn stop(&mut self) {
        self.server.stop(Signal::TERM);
    }

    /// Starts it again on the same ports; earlier telemetry is kept.
    pub fn start_again(&mut self) {
        let Ports {
            grpc, http, health, ..
        } = self.ports;
        self.server
            .start(|_| answers(health, "/") && listens(grpc) && listens(http));
    }

    /// Freezes it: connections stay open and new ones are accepted by the system, but nothing responds.
    pub fn pause(&mut self) {
        self.server.pause();
    }

    /// Ends a [`pause`](Self::pause).
    pub fn resume(&mut self) {
        self.server.resume();
    }

    /// The collector's own log.
    pub fn log(&self) -> String {
        self.server.log()
    }

    /// Each complete line is one request of an exporter.
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
        found("the wanted telemetry", async || {
            let items = read();
            if wanted(&items) {
                return Ok(items);
            }
            let names: Vec<_> = items.iter().map(&name).collect();
            let names = names.join("\n");
            Err(format!("{names}\nthe collector's log:\n{}", self.log()))
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
