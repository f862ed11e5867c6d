//! Destinations of telemetry in a benchmark: none, or a local OTLP receiver.

use std::convert::Infallible;
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use opentelemetry::Context;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::metrics::data::ResourceMetrics;
use opentelemetry_sdk::metrics::exporter::PushMetricExporter;
use opentelemetry_sdk::metrics::{SdkMeterProvider, Temporality};
use opentelemetry_sdk::trace::{
    Sampler, SdkTracerProvider, Span, SpanData, SpanExporter, SpanProcessor,
};
use poolscope::Telemetry;

/// Discards everything.
#[derive(Debug)]
pub struct Sink;

impl SpanExporter for Sink {
    async fn export(&self, _: Vec<SpanData>) -> OTelSdkResult {
        Ok(())
    }
}

/// Spans are created and ended, then discarded.
impl SpanProcessor for Sink {
    fn on_start(&self, _: &mut Span, _: &Context) {}

    fn on_end(&self, _: SpanData) {}

    fn force_flush(&self) -> OTelSdkResult {
        Ok(())
    }

    fn shutdown_with_timeout(&self, _: Duration) -> OTelSdkResult {
        Ok(())
    }
}

impl PushMetricExporter for Sink {
    async fn export(&self, _: &ResourceMetrics) -> OTelSdkResult {
        Ok(())
    }

    fn force_flush(&self) -> OTelSdkResult {
        Ok(())
    }

    fn shutdown_with_timeout(&self, _: Duration) -> OTelSdkResult {
        Ok(())
    }

    fn temporality(&self) -> Temporality {
        Temporality::Cumulative
    }
}

/// Records metrics, and reads them once a minute.
pub fn metrics() -> SdkMeterProvider {
    SdkMeterProvider::builder()
        .with_periodic_exporter(Sink)
        .build()
}

/// Samples spans, and discards them in batches.
pub fn traces(sampler: Sampler) -> SdkTracerProvider {
    SdkTracerProvider::builder()
        .with_sampler(sampler)
        .with_batch_exporter(Sink)
        .build()
}

/// Samples every span, and discards it when it ends: the cost of a span without its export.
pub fn made_spans() -> SdkTracerProvider {
    SdkTracerProvider::builder()
        .with_sampler(Sampler::AlwaysOn)
        .with_span_processor(Sink)
        .build()
}

const ENDPOINT: &str = "OTEL_EXPORTER_OTLP_ENDPOINT";

/// OpenTelemetry reads the environment, so this restarts the program with an endpoint in it.
pub fn set_endpoint() {
    if std::env::var_os(ENDPOINT).is_some() {
        return;
    }
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
    let address = listener.local_addr().expect("an address");
    drop(listener);
    let program = std::env::current_exe().expect("the path of this program");
    let mut again = Command::new(program);
    again.args(std::env::args_os().skip(1));
    let error = again.env(ENDPOINT, format!("http://{address}")).exec();
    panic!("can't restart: {error}");
}

/// Exports everything over OTLP, with the global providers, to a receiver on a thread that accepts it.
pub fn otlp() -> Telemetry {
    let endpoint = std::env::var(ENDPOINT).expect("an endpoint");
    let address = endpoint.trim_start_matches("http://");
    let listener = TcpListener::bind(address).expect("a port");
    std::thread::spawn(move || receive(listener));
    let builder = Telemetry::from_env().expect("settings of OTLP");
    builder.start().expect("telemetry")
}

fn receive(listener: TcpListener) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    runtime.block_on(async {
        listener.set_nonblocking(true).expect("a socket");
        let listener = tokio::net::TcpListener::from_std(listener).expect("a socket");
        loop {
            let (socket, _) = listener.accept().await.expect("a connection");
            let connection =
                http1::Builder::new().serve_connection(TokioIo::new(socket), service_fn(accept));
            tokio::spawn(connection);
        }
    });
}

async fn accept(request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    drop(request.into_body().collect().await);
    let response = Response::builder().header("content-type", "application/x-protobuf");
    Ok(response.body(Full::default()).expect("a response"))
}
