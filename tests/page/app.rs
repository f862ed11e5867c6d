//! An app with a pool and its page.

use std::convert::Infallible;
use std::future::Future;
use std::sync::Arc;

use axum::Router;
use diesel_async::{AsyncPgConnection, RunQueryDsl};
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use poolscope::service::Route;
use poolscope::{Pool, RequestLayer, Settings};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tower::{Layer, ServiceExt, service_fn};

use crate::support::postgres;

const MOUNT: &str = "/api/v1/monitoring/pool";

/// An app that serves the page of its pool.
pub struct App {
    pub pool: Arc<Pool<AsyncPgConnection>>,
    /// The address of the page.
    pub page: String,
    server: JoinHandle<()>,
    load: Vec<JoinHandle<()>>,
}

impl App {
    /// Starts an app with a database of its own.
    pub async fn start(name: &str, change: impl FnOnce(&mut Settings)) -> Self {
        Self::at(&postgres::shared().create_database(name), change).await
    }

    /// Starts an app with this database. Its pool has two connections.
    pub async fn at(url: &str, change: impl FnOnce(&mut Settings)) -> Self {
        let mut settings = Settings::new(url);
        settings.pool_size = 2;
        settings.max_overflow = 0;
        change(&mut settings);
        let pool = Pool::<AsyncPgConnection>::builder(settings)
            .build()
            .expect("valid settings");
        let app = Router::new().nest_service(MOUNT, pool.monitor());
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("a port");
        let server = tokio::spawn(async move {
            axum::serve(listener, app).await.expect("a server");
        });
        Self {
            pool: Arc::new(pool),
            page: format!("http://{address}{MOUNT}/"),
            server,
            load: Vec::new(),
        }
    }

    /// Serves requests of a route one after the other, as several clients do, until the app ends.
    pub fn serves<W>(
        &mut self,
        clients: usize,
        route: &'static str,
        work: impl Fn(Arc<Pool<AsyncPgConnection>>) -> W + Clone + Send + Sync + 'static,
    ) where
        W: Future<Output = ()> + Send + 'static,
    {
        for _ in 0..clients {
            let (pool, work) = (Arc::clone(&self.pool), work.clone());
            self.load.push(tokio::spawn(async move {
                loop {
                    request(route, work(Arc::clone(&pool))).await;
                }
            }));
        }
    }

    /// Ends the server of the page.
    pub fn stop_serving(&self) {
        self.server.abort();
    }
}

impl Drop for App {
    fn drop(&mut self) {
        self.server.abort();
        self.load.iter().for_each(JoinHandle::abort);
    }
}

/// A request of a route.
async fn request(route: &'static str, work: impl Future<Output = ()> + Send) {
    let work = std::sync::Mutex::new(Some(Box::pin(work)));
    let handler = service_fn(|_: Request<()>| {
        let work = work.lock().expect("no panic").take().expect("one request");
        async {
            work.await;
            Ok::<_, Infallible>(Response::new(Full::<bytes::Bytes>::default()))
        }
    });
    let request = Request::builder().extension(Route::new(route)).body(());
    let answer = RequestLayer::new()
        .layer(handler)
        .oneshot(request.expect("valid"));
    let answer = answer.await.expect("infallible");
    answer.into_body().collect().await.expect("infallible");
}

/// Runs a statement.
pub async fn run(conn: &mut AsyncPgConnection, statement: &str) {
    let ran = diesel::sql_query(statement).execute(conn).await;
    ran.unwrap_or_else(|error| panic!("{statement}: {error}"));
}

/// The end of a source line, which also a narrow column shows.
pub fn at(line: u32) -> String {
    format!("troubles.rs:{line}")
}
