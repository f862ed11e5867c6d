//! The monitoring routes in a hyper server without a framework, with its requests counted by route.
//!
//! ```sh
//! cargo run --example hyper_app
//! ```

use std::convert::Infallible;
use std::error::Error;

use bytes::Bytes;
use http::request::Parts;
use http::{Request, Response, StatusCode};
use http_body_util::{Either, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;
use poolscope::backend::AsyncSqliteConnection;
use poolscope::service::AttributedBody;
use poolscope::{Pool, RequestLayer, Settings};
use tokio::net::TcpListener;
use tower::{Layer, ServiceExt};

type Sqlite = AsyncSqliteConnection;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    // Reads variables from a file .env, if it exists.
    dotenvy::dotenv().ok();
    // In production: Pool::<AsyncPgConnection>::from_env()?
    let folder = tempfile::tempdir()?;
    let file = format!("sqlite://{}/app.db", folder.path().display());
    let settings = Settings::from_lookup("", |name| match name {
        "DATABASE_URL" => Some(file.clone().into()),
        name => std::env::var_os(name),
    })?;
    let pool = Pool::<Sqlite>::builder(settings).build()?;

    let port = std::env::var("PORT").map_or(Ok(8000), |port| port.parse())?;
    let listener = TcpListener::bind(("127.0.0.1", port)).await?;
    println!("listening on http://{}", listener.local_addr()?);
    tokio::select! {
        served = serve(listener, pool) => served,
        stopped = tokio::signal::ctrl_c() => Ok(stopped?),
    }
}

async fn serve(listener: TcpListener, pool: Pool<Sqlite>) -> Result<(), Box<dyn Error>> {
    let requests = RequestLayer::new().route(template);
    loop {
        let (socket, _) = listener.accept().await?;
        let (pool, requests) = (pool.clone(), requests.clone());
        let service =
            tower::service_fn(move |request| route(pool.clone(), requests.clone(), request));
        tokio::spawn(
            http1::Builder::new()
                .serve_connection(TokioIo::new(socket), TowerToHyperService::new(service)),
        );
    }
}

/// The body of responses of the monitor and of the app.
type Body = Either<Full<Bytes>, AttributedBody<Full<Bytes>>>;

async fn route(
    pool: Pool<Sqlite>,
    requests: RequestLayer,
    request: Request<Incoming>,
) -> Result<Response<Body>, Infallible> {
    if request.uri().path().starts_with("/api/v1/monitoring/pool/") {
        // The monitor strips its prefix itself, and accepts any kind of body.
        let response = pool.monitor().oneshot(request).await?;
        return Ok(response.map(Either::Left));
    }
    let app = tower::service_fn(|request| app(&pool, request));
    let response = requests.layer(app).oneshot(request).await?;
    Ok(response.map(Either::Right))
}

/// The route of a request. It is never the path itself, because clients may send any path.
fn template(parts: &Parts) -> Option<&'static str> {
    (parts.uri.path() == "/answer").then_some("/answer")
}

async fn app(
    pool: &Pool<Sqlite>,
    request: Request<Incoming>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    Ok(match request.uri().path() {
        "/answer" => answer(pool).await,
        _ => text(StatusCode::NOT_FOUND, "no such route\n"),
    })
}

async fn answer(pool: &Pool<Sqlite>) -> Response<Full<Bytes>> {
    use diesel_async::RunQueryDsl;

    let Ok(mut conn) = pool.get().await else {
        return text(StatusCode::SERVICE_UNAVAILABLE, "no connection\n");
    };
    let answer = diesel::dsl::sql::<diesel::sql_types::Integer>("SELECT 6 * 7");
    match answer.get_result::<i32>(&mut conn).await {
        Ok(answer) => text(StatusCode::OK, format!("{answer}\n")),
        Err(_) => text(StatusCode::INTERNAL_SERVER_ERROR, "the query failed\n"),
    }
}

fn text(status: StatusCode, text: impl Into<Bytes>) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(text.into()));
    *response.status_mut() = status;
    response
}
