//! Hostile requests and bad settings: none makes the monitor panic, give an undocumented answer, or leak a
//! secret.

use std::cell::Cell;
use std::ffi::OsString;

use http::header::{ACCEPT, AUTHORIZATION};
use http::{HeaderMap, HeaderName, HeaderValue, Request, StatusCode};
use poolscope::backend::AsyncSqliteConnection;
use poolscope::service::Source;
use poolscope::{Monitor, Pool, Settings};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestCaseResult, TestRunner};
use tokio::runtime::Runtime;

use crate::databases::{Database, Tested};
use crate::monitor_client::{ROUTES, call, get};
use crate::support::http::Response;

type Sqlite = AsyncSqliteConnection;

const TOKEN: &str = "Tn5RgB8yHc-Tn5RgB8yHc";
/// No answer contains this unless it echoes the request.
const MARK: &str = "m4rk<script>\"'&m4rk";
const PREFIX: &str = "/api/v1/monitoring/pool";
const PAGE: &str = "text/html; charset=utf-8";

fn runtime() -> Runtime {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    builder.enable_all().build().unwrap()
}

fn pool(name: &str) -> (Database, Pool<Sqlite>) {
    let database = Sqlite::database(name);
    let builder = database.pool::<Sqlite>().pool_size(1).max_overflow(0);
    let pool = builder.build().unwrap();
    (database, pool)
}

/// Paths and query strings that name a report, nearly name one, or do not.
fn targets() -> impl Strategy<Value = String> {
    let report = prop::sample::select(&ROUTES[..]).prop_map(str::to_owned);
    let path = prop_oneof![
        4 => report.clone(),
        1 => Just("metrics".to_owned()),
        1 => report.clone().prop_map(|report| format!("{PREFIX}/{report}")),
        1 => report.prop_map(|report| format!("{report}/../health")),
        1 => prop::sample::select(vec!["", PREFIX, "/api/v1/monitoring/pool/"]).prop_map(str::to_owned),
        2 => "[!-~&&[^?#]]{0,20}",
        1 => Just(urlencoded(MARK)),
    ];
    let query = prop_oneof![
        Just(String::new()),
        Just(format!("?token={TOKEN}&access_token={TOKEN}")),
        Just(format!("?q={}", urlencoded(MARK))),
        "\\?[!-~&&[^#]]{0,40}",
        "\\?(target_p95_ms|rate|replicas|pool_size|RATE)=[0-9.%eE+-]{0,12}",
        Just("?rate=1.5&replicas=4&pool_size=20&target_p95_ms=8".to_owned()),
        Just(format!(
            "?rate={}&{}=1",
            urlencoded("<script>\u{7}"),
            urlencoded("</script>")
        )),
        Just(format!("?pool_size={}", "9".repeat(5000))),
        Just(format!("?{}", "a=b&".repeat(2000))),
    ];
    (path, query).prop_map(|(path, query)| format!("/{}{query}", path.trim_start_matches('/')))
}

fn urlencoded(text: &str) -> String {
    text.bytes().map(|byte| format!("%{byte:02x}")).collect()
}

/// Values of `Authorization`, including the right one.
fn authorizations() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        3 => Just(format!("Bearer {TOKEN}").into_bytes()),
        1 => "(Bearer|bearer|Basic|Digest|) {0,2}[!-~]{0,40}".prop_map(String::into_bytes),
        1 => prop::collection::vec(any::<u8>(), 0..80),
        1 => Just(format!("Bearer {}", TOKEN.repeat(3000)).into_bytes()),
        1 => Just(format!("Bearer {MARK}").into_bytes()),
    ]
}

/// Values of `Accept`, well-formed and malformed.
fn accepts() -> impl Strategy<Value = Vec<u8>> {
    let range = prop::sample::select(vec![
        "application/json",
        "application/openmetrics-text;version=1.0.0",
        "text/plain;version=0.0.4;q=0.5",
        "text/html",
        "*/*;q=0",
        ";;q=,",
        "text/\"",
        MARK,
    ]);
    prop_oneof![
        4 => prop::collection::vec(range, 0..5).prop_map(|all| all.join(",").into_bytes()),
        1 => prop::collection::vec(any::<u8>(), 0..80),
        1 => Just("application/json,".repeat(4000).into_bytes()),
    ]
}

fn others() -> impl Strategy<Value = Vec<(String, Vec<u8>)>> {
    let header = ("[a-z-]{1,20}", prop::collection::vec(any::<u8>(), 0..60));
    let marked = Just(("x-forwarded-host".to_owned(), MARK.as_bytes().to_vec()));
    prop::collection::vec(prop_oneof![header, marked], 0..6)
}

fn methods() -> impl Strategy<Value = String> {
    prop_oneof![
        4 => Just("GET".to_owned()),
        1 => Just("HEAD".to_owned()),
        1 => "[A-Z!#$%&'*+.^_`|~-]{1,20}",
    ]
}

/// The request, if HTTP can carry it.
fn requests() -> impl Strategy<Value = Option<Request<()>>> {
    let authorizations = prop_oneof![
        1 => Just(Vec::new()),
        3 => prop::collection::vec(authorizations(), 1..2),
        1 => prop::collection::vec(authorizations(), 2..4),
    ];
    let accepts = prop::collection::vec(accepts(), 0..3);
    (methods(), targets(), authorizations, accepts, others()).prop_map(
        |(method, target, authorizations, accepts, others)| {
            let mut request = Request::builder()
                .method(&*method)
                .uri(&target)
                .body(())
                .ok()?;
            let headers = request.headers_mut();
            for (name, values) in [(AUTHORIZATION, authorizations), (ACCEPT, accepts)] {
                for value in values {
                    headers.append(name.clone(), HeaderValue::from_bytes(&value).ok()?);
                }
            }
            for (name, value) in others {
                let name = HeaderName::try_from(name).ok()?;
                if name != AUTHORIZATION {
                    headers.append(name, HeaderValue::from_bytes(&value).ok()?);
                }
            }
            Some(request)
        },
    )
}

/// Whether the request carries the token correctly.
fn has_token(headers: &HeaderMap) -> bool {
    let all: Vec<_> = headers.get_all(AUTHORIZATION).iter().collect();
    matches!(all[..], [only] if only == format!("Bearer {TOKEN}").as_str())
}

/// Checks the properties of every answer.
fn is_documented(answer: &Response, method: &str) -> TestCaseResult {
    let kind = answer.header("content-type");
    match answer.status.as_u16() {
        200 | 503 => prop_assert!(
            kind == "application/json"
                || kind == "text/plain; version=0.0.4; charset=utf-8"
                || kind == "application/openmetrics-text; version=1.0.0; charset=utf-8"
                || kind == PAGE,
            "{}",
            kind
        ),
        400 | 401 | 403 | 404 | 405 => prop_assert_eq!(kind, "application/problem+json"),
        other => prop_assert!(false, "{} is in no guide", other),
    }
    prop_assert_eq!(answer.header("cache-control"), "no-store");
    prop_assert_eq!(
        answer.status == StatusCode::UNAUTHORIZED,
        answer.headers.contains_key("www-authenticate")
    );
    prop_assert_eq!(answer.body.is_empty(), method == "HEAD");
    if kind.ends_with("json") && method != "HEAD" {
        let json = serde_json::from_slice::<serde_json::Value>(&answer.body);
        prop_assert!(json.is_ok_and(|json| json.is_object()), "{}", answer.text());
    }
    let output = format!("{:?} {}", answer.headers, answer.text());
    for sent in ["m4rk", "Tn5RgB8yHc", "<script", &urlencoded(MARK)[..12]] {
        // The page has a script of its own.
        let own = sent == "<script" && kind == PAGE;
        prop_assert!(
            own || !output.contains(sent),
            "{} came back in {}",
            sent,
            output
        );
    }
    Ok(())
}

#[test]
fn hostile_requests_get_documented_answers_without_echo() {
    let runtime = runtime();
    let _runtime = runtime.enter();
    let (_database, pool) = pool("hostile_requests");
    let locked = pool.monitor().bearer_token(TOKEN).unwrap();
    let monitors = [
        pool.monitor(),
        locked.clone(),
        locked.clone().authorize(|_| false),
        pool.monitor().source_lines(false),
        pool.monitor().only_healthcheck(),
        locked.only_healthcheck(),
    ];
    let mut runner = TestRunner::new(Config::with_cases(300));
    let outcome = runner.run(&(requests(), 0..monitors.len()), |(request, which)| {
        let Some(request) = request else {
            return Ok(());
        };
        let method = request.method().to_string();
        let path = request.uri().path();
        let name = path
            .strip_prefix(PREFIX)
            .unwrap_or(path)
            .trim_end_matches('/');
        let takes_parameters = name == "/optimize" && request.uri().query().is_some();
        let is_index = name.is_empty();
        let (is_check, let_in) = (name == "/healthcheck", has_token(request.headers()));
        let (status, is_page) = {
            let answer = runtime.block_on(call(monitors[which].clone(), request));
            is_documented(&answer, &method)?;
            if answer.status == 400 {
                prop_assert!(takes_parameters, "only `optimize` has parameters");
                prop_assert!(answer.body.len() < 1000, "{}", answer.text());
            }
            (
                answer.status.as_u16(),
                answer.header("content-type") == PAGE,
            )
        };
        // Access depends on the token and on nothing else in the request. The page itself needs none.
        match which {
            1 if is_page => prop_assert!(is_index),
            1 if !let_in && !is_check => prop_assert_eq!(status, 401),
            1 => prop_assert_ne!(status, 401),
            2 if !is_check => prop_assert!(status == 403 || status == 401 && !let_in, "{}", status),
            4 | 5 if !is_check => prop_assert_eq!(status, 404),
            _ => prop_assert!(matches!(status, 200 | 400 | 404 | 405), "{}", status),
        }
        Ok(())
    });
    outcome.unwrap();
}

/// Values that are often valid. None opens thousands of connections.
fn values() -> impl Strategy<Value = String> {
    prop_oneof![
        4 => "(true|false|on|off|0|1|2|7|50|1ms|5ms|100ms|1s|-1|small)",
        1 => "[ -~]{0,20}",
        1 => Just(MARK.to_owned()),
        1 => Just(TOKEN.to_owned()),
    ]
}

async fn ask_all<S: Source + Clone>(monitor: &Monitor<S>) -> Vec<Response> {
    let mut answers = Vec::new();
    for path in ROUTES.into_iter().chain(["metrics", "nothing"]) {
        answers.push(get(monitor.clone(), path).await);
    }
    answers
}

#[test]
fn hostile_settings_are_refused_or_served_as_documented() {
    let runtime = runtime();
    let _runtime = runtime.enter();
    let names: Vec<_> = Settings::variables()
        .iter()
        .map(poolscope::settings::Variable::name)
        // The test sets the URL, a name is echoed as it is, and a warm-up does not concern the routes.
        .filter(|name| !["DATABASE_URL", "DB_POOL_NAME", "DB_POOL_WARM_UP"].contains(name))
        .collect();
    let settings = prop::collection::btree_map(prop::sample::select(names), values(), 0..12);
    let database = Sqlite::database("hostile_settings");
    let served = Cell::new(0);
    let mut runner = TestRunner::new(Config::with_cases(200));
    let outcome = runner.run(
        &(settings, any::<bool>()),
        |(mut environment, only_healthcheck)| {
            // The token is secret only where it is in force.
            environment.insert("DB_POOL_MONITOR_TOKEN", TOKEN.to_owned());
            let read = Settings::from_lookup("", |name| match name {
                "DATABASE_URL" => Some(OsString::from(&database.url)),
                name => environment.get(name).map(OsString::from),
            });
            let shown = format!("{read:?} {read:#?}");
            prop_assert!(!shown.contains(TOKEN), "{}", shown);
            let Ok(mut settings) = read else {
                return Ok(());
            };
            served.set(served.get() + 1);
            settings.monitor_only_healthcheck = only_healthcheck;
            let pool = Pool::<Sqlite>::builder(settings).build();
            prop_assert!(pool.is_ok(), "what was read can be built: {:?}", pool);
            let pool = pool.unwrap();
            let monitor = pool.monitor();
            let shown = format!("{monitor:?} {pool:?}");
            prop_assert!(!shown.contains(TOKEN), "{}", shown);
            for answer in runtime.block_on(ask_all(&monitor)) {
                is_documented(&answer, "GET")?;
                let expected: &[u16] = match only_healthcheck {
                    true => &[200, 404],
                    false => &[200, 401],
                };
                prop_assert!(expected.contains(&answer.status.as_u16()), "{:?}", answer);
            }
            Ok(())
        },
    );
    outcome.unwrap();
    assert!(served.get() > 10, "only {} were served", served.get());
}
