//! The live page: who gets it, with which headers, and what it may do.

use http::header::{ACCEPT, AUTHORIZATION};
use http::{Method, Request, StatusCode};
use poolscope::backend::AsyncSqliteConnection;
use poolscope::service::Source;
use poolscope::{Monitor, Pool};

use crate::databases::{Database, Tested};
use crate::monitor_client::{ROUTES, call, get, names};
use crate::support::http::Response;

type Sqlite = AsyncSqliteConnection;

const TOKEN: &str = "mW9xJ4cQ7tRb2VzK";
const CHROME: &str = "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,image/apng,*/*;q=0.8,application/signed-exchange;v=b3;q=0.7";
const PROMETHEUS: &str =
    "application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5,*/*;q=0.1";
/// The most that the whole page may have.
const MOST: usize = 60 * 1024;

fn lite(name: &str) -> (Database, Pool<Sqlite>) {
    let database = Sqlite::database(name);
    let builder = database.pool::<Sqlite>().pool_size(1).max_overflow(0);
    let pool = builder.build().unwrap();
    (database, pool)
}

async fn ask<S: Source + Clone>(
    monitor: &Monitor<S>,
    path: &str,
    headers: &[(http::HeaderName, &str)],
) -> Response {
    let mut request = Request::get(path);
    for (name, value) in headers {
        request = request.header(name, *value);
    }
    call(monitor.clone(), request.body(()).unwrap()).await
}

fn is_page(answer: &Response) {
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.text());
    assert_eq!(answer.header("content-type"), "text/html; charset=utf-8");
    assert!(
        answer.text().starts_with("<!doctype html>"),
        "{}",
        answer.text()
    );
}

fn is_list(answer: &Response) {
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.text());
    assert_eq!(answer.header("content-type"), "application/json");
    let list = answer.json();
    let listed = names(&list["reports"]);
    for route in ROUTES.into_iter().chain(["metrics"]) {
        assert!(listed.contains(&route), "{route} in {listed:?}");
    }
}

#[tokio::test]
async fn a_browser_gets_the_page_and_other_clients_the_list_of_the_routes() {
    let (_database, pool) = lite("page_negotiation");
    let monitor = pool.monitor();
    for path in ["/", "/api/v1/monitoring/pool", "/api/v1/monitoring/pool/"] {
        is_page(&ask(&monitor, path, &[(ACCEPT, CHROME)]).await);
        for accept in ["*/*", "application/json", PROMETHEUS, "text/plain"] {
            is_list(&ask(&monitor, path, &[(ACCEPT, accept)]).await);
        }
        is_list(&ask(&monitor, path, &[]).await);
    }
    // A browser that opens a report sees the report.
    let status = ask(&monitor, "/status", &[(ACCEPT, CHROME)]).await;
    assert_eq!(status.header("content-type"), "application/json");
}

#[tokio::test]
async fn the_page_says_what_a_browser_may_do_with_it() {
    let (_database, pool) = lite("page_headers");
    let page = ask(&pool.monitor(), "/", &[(ACCEPT, CHROME)]).await;
    is_page(&page);
    assert_eq!(page.header("vary"), "Accept");
    assert_eq!(page.header("cache-control"), "no-store");
    assert_eq!(page.header("referrer-policy"), "no-referrer");
    assert_eq!(page.header("x-content-type-options"), "nosniff");
    let policy = page.header("content-security-policy");
    let directives: Vec<_> = policy.split("; ").collect();
    for directive in [
        "default-src 'none'",
        "connect-src 'self'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
    ] {
        assert!(directives.contains(&directive), "{directive} in {policy}");
    }
    assert!(!policy.contains("unsafe"), "{policy}");
    assert!(page.body.len() <= MOST, "{} bytes", page.body.len());
    let list = get(pool.monitor(), "/").await;
    assert_eq!(list.header("vary"), "Accept");
}

#[tokio::test]
async fn head_of_the_page_is_get_without_the_body() {
    let (_database, pool) = lite("page_head");
    let full = ask(&pool.monitor(), "/", &[(ACCEPT, CHROME)]).await;
    let request = Request::builder().method(Method::HEAD).uri("/");
    let request = request.header(ACCEPT, CHROME).body(()).unwrap();
    let head = call(pool.monitor(), request).await;
    assert_eq!(head.status, StatusCode::OK);
    assert!(head.body.is_empty());
    assert_eq!(head.header("content-type"), full.header("content-type"));
}

#[tokio::test]
async fn the_page_needs_no_token_but_the_apps_consent() {
    let (_database, pool) = lite("page_access");
    let locked = pool.monitor().bearer_token(TOKEN).unwrap();
    is_page(&ask(&locked, "/", &[(ACCEPT, CHROME)]).await);
    // The list is a report.
    let refused = ask(&locked, "/", &[(ACCEPT, "*/*")]).await;
    assert_eq!(refused.status, StatusCode::UNAUTHORIZED);
    let bearer = format!("Bearer {TOKEN}");
    is_list(&ask(&locked, "/", &[(AUTHORIZATION, &*bearer)]).await);

    let denied = locked.clone().authorize(|_| false);
    for headers in [
        &[(ACCEPT, CHROME)][..],
        &[(ACCEPT, CHROME), (AUTHORIZATION, &*bearer)],
    ] {
        let answer = ask(&denied, "/", headers).await;
        assert_eq!(answer.status, StatusCode::FORBIDDEN, "{headers:?}");
    }
    let allowed = locked.clone().authorize(|_| true);
    is_page(&ask(&allowed, "/", &[(ACCEPT, CHROME)]).await);

    let hidden = pool.monitor().only_healthcheck();
    let answer = ask(&hidden, "/", &[(ACCEPT, CHROME)]).await;
    assert_eq!(answer.status, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn without_the_page_a_browser_gets_the_list() {
    let (_database, pool) = lite("page_off");
    let monitor = pool.monitor().page(false);
    is_list(&ask(&monitor, "/", &[(ACCEPT, CHROME)]).await);
    let locked = monitor.bearer_token(TOKEN).unwrap();
    let refused = ask(&locked, "/", &[(ACCEPT, CHROME)]).await;
    assert_eq!(refused.status, StatusCode::UNAUTHORIZED);
}
