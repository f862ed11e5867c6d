//! Requests that repeat the same statement (N+1).

use std::convert::Infallible;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use poolscope::backend::AsyncSqliteConnection;
use poolscope::report::Health;
use poolscope::service::Route;
use poolscope::{Pool, RequestLayer};
use tower::{Layer, ServiceExt, service_fn};

use crate::databases::{Database, Tested, on_each_database};
use crate::log_capture;

fn pool<C: Tested>(name: &str, limit: Option<u32>) -> (Database, Pool<C>) {
    let database = C::database(name);
    let pool = database
        .pool()
        .name(name)
        .settings(|settings| settings.n_plus_one = limit);
    (database, pool.build().unwrap())
}

/// A request of `route` that sends each statement the given number of times.
async fn request<C: Tested>(pool: &Pool<C>, route: &'static str, statements: &[(&str, usize)]) {
    let work = service_fn(|_: Request<()>| async {
        let mut conn = pool.get().await.unwrap();
        for (statement, times) in statements {
            for _ in 0..*times {
                conn.run(statement).await.unwrap();
            }
        }
        Ok::<_, Infallible>(Response::new(Full::new(Bytes::new())))
    });
    let request = Request::builder().extension(Route::new(route)).body(());
    let answer = RequestLayer::new().layer(work).oneshot(request.unwrap());
    answer.await.unwrap().into_body().collect().await.unwrap();
}

fn warnings(health: &Health) -> Vec<&String> {
    health
        .warnings
        .iter()
        .filter(|w| w.starts_with("N+1"))
        .collect()
}

on_each_database!(a_repeated_statement_is_reported);

async fn a_repeated_statement_is_reported<C: Tested>(name: &str) {
    let lines = log_capture::capture();
    let (_database, pool) = pool::<C>(name, Some(3));
    request(
        &pool,
        "/fine",
        &[("SELECT 1 AS n", 3), ("SELECT 1 AS m", 3)],
    )
    .await;
    assert_eq!(pool.health().await.n_plus_one, []);

    request(&pool, "/users", &[("SELECT 5 AS secret", 9)]).await;
    // A request that repeats two statements counts once.
    request(
        &pool,
        "/users",
        &[("SELECT 1 AS n", 4), ("SELECT 1 AS m", 4)],
    )
    .await;
    request(&pool, "/other", &[("SELECT 1 AS n", 4)]).await;
    let health = pool.health().await;
    let [first, second] = &health.n_plus_one[..] else {
        panic!("{:?}", health.n_plus_one)
    };
    assert_eq!(first.route.as_deref(), Some("/users"));
    assert_eq!((first.requests, first.requests_last_5m), (2, 2));
    assert_eq!(first.statement, "SELECT", "the text is off by default");
    assert_eq!(
        (second.route.as_deref(), second.requests),
        (Some("/other"), 1)
    );
    let [warning] = warnings(&health)[..] else {
        panic!("{:?}", health.warnings)
    };
    assert!(
        warning.contains("N+1: /users at tests/pool/n_plus_one.rs:"),
        "{warning}"
    );
    assert!(
        warning.contains("repeats the same statement within a request"),
        "{warning}"
    );
    assert!(first.caller.starts_with(file!()), "{}", first.caller);

    let logged = lines.lines_with("N+1: a request has sent the same statement 4 times");
    let logged: Vec<_> = logged.iter().filter(|line| line.contains(name)).collect();
    assert!(!logged.is_empty());
    assert!(
        logged[0].contains("SELECT ? AS secret") && logged[0].contains("/users"),
        "{logged:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_detected_when_turned_off_or_without_a_request() {
    let (_off, off) = pool::<AsyncSqliteConnection>("n_plus_one_off", None);
    request(&off, "/users", &[("SELECT 1 AS n", 50)]).await;
    assert_eq!(off.health().await.n_plus_one, []);

    let (_alone, alone) = pool::<AsyncSqliteConnection>("n_plus_one_alone", Some(3));
    let mut conn = alone.get().await.unwrap();
    for _ in 0..50 {
        conn.select(1).await.unwrap();
    }
    drop(conn);
    assert_eq!(alone.health().await.n_plus_one, []);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_statement_text_is_shown_when_enabled() {
    let database = AsyncSqliteConnection::database("n_plus_one_text");
    let pool: Pool<AsyncSqliteConnection> = database
        .pool()
        .settings(|settings| settings.query_text = true)
        .build()
        .unwrap();
    request(&pool, "/users", &[("SELECT 4711 AS n", 11)]).await;
    let health = pool.health().await;
    assert_eq!(health.n_plus_one[0].statement, "SELECT ? AS n");
    assert!(
        warnings(&health)[0].contains("(SELECT ? AS n)"),
        "{:?}",
        health.warnings
    );
}
