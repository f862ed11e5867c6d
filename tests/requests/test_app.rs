//! An app with a pool, and the spans of both.

use std::collections::BTreeMap;

use axum::body::Body;
use axum::response::Response;
use diesel_async::RunQueryDsl;
use http::Request;
use http_body_util::BodyExt;
use opentelemetry::trace::{SpanKind, TracerProvider};
use opentelemetry_sdk::trace::{InMemorySpanExporter, SdkTracerProvider, SpanData};
use poolscope::backend::AsyncSqliteConnection;
use poolscope::{Pool, PoolBuilder, RequestLayer, Settings};
use tempfile::TempDir;
use tower::{Service, ServiceExt};
use tracing_subscriber::layer::SubscriberExt;

use crate::waiting::until;

pub type Sqlite = Pool<AsyncSqliteConnection>;

/// A pool and a layer that export to the same in-memory provider.
pub struct TestApp {
    pub provider: SdkTracerProvider,
    pub pool: Sqlite,
    exporter: InMemorySpanExporter,
    folder: TempDir,
}

impl TestApp {
    pub fn new() -> Self {
        let exporter = InMemorySpanExporter::default();
        let provider = SdkTracerProvider::builder()
            .with_simple_exporter(exporter.clone())
            .build();
        let folder = tempfile::tempdir().unwrap();
        let pool = builder(&folder, "app")
            .tracer_provider(provider.clone())
            .build()
            .unwrap();
        Self {
            provider,
            pool,
            exporter,
            folder,
        }
    }

    /// A second pool of the same app.
    pub fn another_pool(&self, name: &str) -> PoolBuilder<AsyncSqliteConnection> {
        builder(&self.folder, name)
    }

    /// A layer that exports to the same provider.
    pub fn layer(&self) -> RequestLayer {
        RequestLayer::new().tracer_provider(self.provider.clone())
    }

    /// Exports `tracing` spans of this thread too, while the guard lives.
    pub fn with_tracing(&self) -> tracing::subscriber::DefaultGuard {
        let spans = tracing_opentelemetry::layer().with_tracer(self.provider.tracer("tracing"));
        let only = tracing_subscriber::filter::LevelFilter::INFO;
        tracing::subscriber::set_default(tracing_subscriber::registry().with(only).with(spans))
    }

    /// All spans, in the order of their ends.
    pub fn spans(&self) -> Vec<SpanData> {
        self.exporter.get_finished_spans().unwrap()
    }

    /// The spans of kind SERVER.
    pub fn servers(&self) -> Vec<SpanData> {
        let mut spans = self.spans();
        spans.retain(|span| span.span_kind == SpanKind::Server);
        spans
    }

    /// The only span of kind SERVER.
    #[track_caller]
    pub fn server(&self) -> SpanData {
        let mut servers = self.servers();
        assert_eq!(servers.len(), 1, "{servers:#?}");
        servers.remove(0)
    }

    /// The only span of this name.
    #[track_caller]
    pub fn named(&self, name: &str) -> SpanData {
        let mut spans = self.spans();
        spans.retain(|span| span.name == name);
        assert_eq!(spans.len(), 1, "{name}: {:#?}", self.spans());
        spans.remove(0)
    }

    /// Waits for the end of a request that another task serves.
    pub async fn server_ended(&self) -> SpanData {
        let servers = async || self.servers();
        until("a request has ended", servers, |servers| {
            !servers.is_empty()
        })
        .await;
        self.server()
    }
}

fn builder(folder: &TempDir, name: &str) -> PoolBuilder<AsyncSqliteConnection> {
    let url = format!("sqlite://{}/app.db", folder.path().display());
    Pool::builder(Settings::new(url)).name(name)
}

/// One checkout with this number of queries.
pub async fn use_pool(pool: &Sqlite, queries: usize) {
    let mut conn = pool.get().await.unwrap();
    for _ in 0..queries {
        query(&mut conn).await;
    }
}

pub async fn query(conn: &mut AsyncSqliteConnection) {
    let one = diesel::dsl::sql::<diesel::sql_types::Integer>("SELECT 1");
    assert_eq!(one.get_result::<i32>(conn).await, Ok(1));
}

pub fn get(path: &str) -> Request<Body> {
    Request::get(path).body(Body::empty()).unwrap()
}

/// Sends a request and reads the answer to its end.
pub async fn send<S, B>(app: &S, request: Request<Body>) -> (http::StatusCode, String)
where
    S: Service<Request<Body>, Response = Response<B>> + Clone,
    S::Error: std::fmt::Debug,
    B: http_body::Body<Error: std::fmt::Debug>,
{
    let (parts, body) = app.clone().oneshot(request).await.unwrap().into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    (parts.status, String::from_utf8(body.into()).unwrap())
}

/// A span's attributes as text. A repeated key is a mistake.
#[track_caller]
pub fn attributes(span: &SpanData) -> BTreeMap<String, String> {
    let mut all = BTreeMap::new();
    for attribute in &span.attributes {
        let twice = all.insert(attribute.key.to_string(), attribute.value.to_string());
        assert_eq!(twice, None, "{} is repeated", attribute.key);
    }
    all
}

#[track_caller]
pub fn attribute(span: &SpanData, key: &str) -> Option<String> {
    attributes(span).remove(key)
}

/// The counts of checkouts and queries on the span.
#[track_caller]
pub fn counts(span: &SpanData) -> Option<(u64, u64)> {
    let attributes = attributes(span);
    let number = |name| Some(attributes.get(name)?.parse().unwrap());
    Some((
        number("poolscope.request.checkouts")?,
        number("poolscope.request.queries")?,
    ))
}

/// Asserts that one span is a child of the other.
#[track_caller]
pub fn assert_child(child: &SpanData, parent: &SpanData) {
    assert_eq!(
        child.parent_span_id,
        parent.span_context.span_id(),
        "{child:#?}\nis not a child of\n{parent:#?}"
    );
    assert_eq!(
        child.span_context.trace_id(),
        parent.span_context.trace_id()
    );
}
