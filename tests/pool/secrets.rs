//! Searches everything that leaves the process for secrets: the password, the monitor's token, bind
//! values, and literals of statements where statements are not enabled.

use std::convert::Infallible;
use std::error::Error;
use std::fmt::Debug;
use std::time::Duration;

use axum::response::IntoResponse as _;
use bytes::Bytes;
use diesel_async::SimpleAsyncConnection;
use http::header::{ACCEPT, AUTHORIZATION};
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use opentelemetry::Context;
use opentelemetry::trace::{FutureExt as _, TraceContextExt, Tracer, TracerProvider};
use poolscope::report::WhatIf;
use poolscope::service::{PooledGuard, Route};
use poolscope::{Checkout, Pool, PoolBuilder, RequestLayer};
use tower::{Layer, ServiceExt, service_fn};

use crate::databases::{Database, Tested, on_each_database};
use crate::in_memory_exporters::{Meters, Spans};
use crate::log_capture;
use crate::monitor_client::{ROUTES, call, get, until};
use crate::support::{PASSWORD, mariadb, postgres};

/// Each secret is unique, and every form in which it may be written is searched for.
const TOKEN: &str = "token-Vb5nQ2xK8rTw7";
const WRONG_PASSWORD: &str = "wrong-Hs6kP3zM9";
const BOUND: &str = "bound-Jd4wL7cX1";
const BOUND_NUMBER: i32 = 1_928_374_655;
const LITERAL: &str = "literal-Gf8vN2bY5";
const LITERAL_NUMBER: &str = "1647382915";

/// Values that no output may contain, whatever is enabled.
fn secrets() -> [String; 5] {
    [
        PASSWORD,
        TOKEN,
        WRONG_PASSWORD,
        BOUND,
        &BOUND_NUMBER.to_string(),
    ]
    .map(str::to_owned)
}

/// Every output, with its origin.
#[derive(Default)]
struct Texts(Vec<(String, String)>);

impl Texts {
    fn add(&mut self, place: impl Into<String>, text: impl Into<String>) {
        self.0.push((place.into(), text.into()));
    }

    fn debug(&mut self, place: &str, value: &dyn Debug) {
        self.add(place, format!("{value:?} {value:#?}"));
    }

    fn error(&mut self, place: &str, error: &(dyn Error + 'static)) {
        let mut next = Some(error);
        while let Some(error) = next {
            self.add(place, format!("{error} {error:?} {error:#?}"));
            next = error.source();
        }
    }

    /// Asserts that no text contains any of these.
    #[track_caller]
    fn holds_none_of(&self, secrets: &[String]) {
        assert!(self.0.len() > 20, "too few texts: {}", self.0.len());
        for (place, text) in &self.0 {
            for secret in secrets {
                assert!(!text.contains(secret), "{secret} in {place}: {text}");
            }
        }
    }

    fn says(&self, words: &str) -> bool {
        self.0.iter().any(|(_, text)| text.contains(words))
    }
}

/// Everything that one pool emits.
struct Outputs<C: Tested> {
    pool: Pool<C>,
    spans: Spans,
    meters: Meters,
}

impl<C: Tested> Outputs<C> {
    fn new(name: &str, builder: PoolBuilder<C>, texts: &mut Texts) -> Self {
        let (spans, meters) = (Spans::new(), Meters::new());
        let builder = builder
            .name(name)
            .tracer_provider(spans.provider.clone())
            .meter_provider(meters.provider.clone())
            .settings(|settings| {
                // Long enough to connect on a busy machine.
                settings.pool_timeout = Duration::from_secs(5);
                settings.monitor_token = Some(TOKEN.into());
                settings.slow_wait = Some(Duration::from_millis(1));
                settings.leak_threshold = Some(Duration::from_millis(1));
                settings.n_plus_one = Some(2);
                settings.query_text = true;
                settings.echo = true;
            });
        texts.debug("PoolBuilder", &builder);
        let pool = builder.build().unwrap();
        Self {
            pool,
            spans,
            meters,
        }
    }

    /// The context of a traced request.
    fn request(&self) -> Context {
        let tracer = self.spans.provider.tracer("app");
        Context::new().with_span(tracer.start("GET /people"))
    }

    /// Calls all routes, with and without the token, and all reports from code.
    async fn ask(&self, texts: &mut Texts) {
        let monitor = self.pool.monitor();
        let others = [
            "metrics",
            "nothing",
            "?token=x",
            "optimize?rate=1.5&pool_size=7",
            "optimize?rate=fast",
        ];
        for path in ROUTES.into_iter().chain(others) {
            for accept in [
                "*/*",
                "text/html",
                "application/openmetrics-text",
                "text/plain;version=0.0.4",
            ] {
                let request = Request::get(format!("/{path}"))
                    .header(AUTHORIZATION, format!("Bearer {TOKEN}"))
                    .header(ACCEPT, accept)
                    .body(());
                let answer = call(monitor.clone(), request.unwrap()).await;
                texts.debug(&format!("headers of {path}"), &answer.headers);
                texts.add(format!("{path} as {accept}"), answer.text());
            }
            let refused = get(monitor.clone(), path).await;
            texts.debug(&format!("headers of {path}, refused"), &refused.headers);
            texts.add(format!("{path}, refused"), refused.text());
        }
        texts.debug("Status", &self.pool.status());
        texts.add(
            "health()",
            serde_json::to_string(&self.pool.health().await).unwrap(),
        );
        texts.debug("Health", &self.pool.health().await);
        texts.debug("Optimization", &self.pool.optimize().await);
        let what_if = WhatIf::new().rate(1.5).replicas(3).pool_size(7);
        let advice = self.pool.optimize_for(&what_if).await.unwrap();
        texts.debug("Optimization of another load", &advice);
        texts.add("optimize_for()", serde_json::to_string(&advice).unwrap());
        texts.debug("Healthcheck", &self.pool.healthcheck().await);
    }

    /// Collects logs, spans and metrics.
    fn collect(&self, texts: &mut Texts) {
        texts.debug("spans", &self.spans.named_like(""));
        texts.debug("metrics", &self.meters.read());
        texts.debug("Pool", &self.pool);
        texts.debug("Observe", self.pool.as_service());
        texts.debug("Stack", self.pool.as_service().get_ref());
        texts.debug("Gate", self.pool.as_service().get_ref().gate());
        texts.debug("Settings", self.pool.settings());
        texts.debug("Monitor", &self.pool.monitor());
        texts.debug("State", &self.pool.state());
        for event in log_capture::capture().ours() {
            // An echo shows statements, but their values are searched for all the same.
            let is_echo = event.starts_with("poolscope::echo");
            texts.add(if is_echo { "echo" } else { "log" }, event);
        }
    }
}

/// A pool with a wrong password; none on SQLite.
fn locked_out<C: Tested>() -> Option<Database> {
    match C::database_name() {
        "postgres" => Some(Database::at(
            &postgres::shared().url_with_password(WRONG_PASSWORD),
        )),
        "mariadb" => Some(Database::at(
            &mariadb::shared().url_with_password(WRONG_PASSWORD),
        )),
        _ => None,
    }
}

on_each_database!(no_output_contains_a_secret_or_a_value);

async fn no_output_contains_a_secret_or_a_value<C: Tested>(name: &str) {
    log_capture::capture();
    let mut texts = Texts::default();
    let database = C::database(name);
    let builder = database.pool::<C>().pool_size(1).max_overflow(1);
    let people = Outputs::<C>::new(name, builder, &mut texts);

    succeed_and_fail(&people, &mut texts).await;
    repeat(&people).await;
    run_out(&people, &mut texts).await;
    if C::database_name() != "sqlite" {
        drop_queries(&people, &mut texts).await;
    }
    people.ask(&mut texts).await;
    assert!(people.pool.close(Duration::from_secs(30)).await);
    people.ask(&mut texts).await;
    texts.error("closed", &people.pool.get().await.unwrap_err());
    people.collect(&mut texts);

    if let Some(database) = locked_out::<C>() {
        let builder = database.pool::<C>();
        let outside = Outputs::<C>::new(&format!("{name}_outside"), builder, &mut texts);
        let error = outside.pool.get().await.unwrap_err();
        texts.error("locked out", &error);
        let answer = error.into_response().into_body().collect().await.unwrap();
        texts.add("503", String::from_utf8_lossy(&answer.to_bytes()));
        outside.ask(&mut texts).await;
        outside.collect(&mut texts);
        assert!(texts.says("authentication"), "its error is among the texts");
    }

    texts.holds_none_of(&secrets());
    // Everything happened, and would have been found.
    for words in [
        "people",
        "slow wait",
        "N+1",
        "possible connection leak",
        "timed out after",
    ] {
        assert!(texts.says(words), "{words}");
    }
    assert!(texts.says(LITERAL), "the echo shows statements");
    texts.0.retain(|(place, _)| place != "echo");
    texts.holds_none_of(&[LITERAL.to_owned(), LITERAL_NUMBER.to_owned()]);
}

/// Runs statements that succeed, and statements whose errors quote their input.
async fn succeed_and_fail<C: Tested>(people: &Outputs<C>, texts: &mut Texts) {
    let work = async {
        let mut conn = people
            .pool
            .checkout(Checkout::new().label("work"))
            .await
            .unwrap();
        texts.debug("PooledConnection", &conn);
        texts.debug("facts", &conn.facts());
        conn.batch_execute(
            "CREATE TABLE people (id INTEGER PRIMARY KEY, email VARCHAR(60) NOT NULL UNIQUE, CHECK (id <> 1647382915))",
        )
        .await
        .unwrap();
        let insert = "INSERT INTO people (id, email) VALUES ($1, $2)";
        conn.bound(insert, BOUND_NUMBER, BOUND).await.unwrap();
        // `Key (id)=(…) already exists`, `Duplicate entry '…'`.
        conn.bound(insert, BOUND_NUMBER, BOUND).await.unwrap_err();
        conn.bound(insert, BOUND_NUMBER - 1, BOUND)
            .await
            .unwrap_err();
        conn.run(&format!(
            "INSERT INTO people (id, email) VALUES (7, '{LITERAL}')"
        ))
        .await
        .unwrap();
        for refused in [
            // The same, a check's `Failing row contains (…)`, and invalid input.
            format!("INSERT INTO people (id, email) VALUES (8, '{LITERAL}')"),
            format!("INSERT INTO people (id, email) VALUES ({LITERAL_NUMBER}, '{LITERAL}!')"),
            format!("INSERT INTO people (id, email) VALUES ('{LITERAL}', 'x')"),
            // `syntax error at or near …`.
            format!("SELECT id FROM people WHERE WHERE '{LITERAL}' {LITERAL_NUMBER}"),
            format!("SELECT '{LITERAL}"),
        ] {
            conn.run(&refused).await.unwrap_err();
        }
        conn.batch_execute(&format!(
            "UPDATE people SET email = '{LITERAL}2' WHERE id = 7; SELEC '{LITERAL}'"
        ))
        .await
        .unwrap_err();
        let rolled_back = diesel_async::AsyncConnection::transaction(&mut *conn, async |conn| {
            conn.bound(insert, BOUND_NUMBER, BOUND).await
        });
        rolled_back.await.unwrap_err();
        drop(conn);
    };
    work.with_context(people.request()).await;
}

/// An N+1: one statement again and again, each time with other values.
async fn repeat<C: Tested>(people: &Outputs<C>) {
    let work = service_fn(|_: Request<()>| async {
        let mut conn = people.pool.get().await.unwrap();
        let select = "SELECT id FROM people WHERE id = $1 AND email = $2";
        for n in 0..5 {
            conn.bound(select, BOUND_NUMBER, &format!("{BOUND}{n}"))
                .await
                .unwrap();
            conn.run(&format!("SELECT id FROM people WHERE email <> '{LITERAL}'"))
                .await
                .unwrap();
        }
        drop(conn);
        Ok::<_, Infallible>(Response::new(Full::new(Bytes::new())))
    });
    let request = Request::get(format!("/people/1?email={BOUND}"))
        .header("cookie", BOUND)
        .extension(Route::new("/people/{id}"))
        .body(());
    let layer = RequestLayer::new().tracer_provider(people.spans.provider.clone());
    let answer = layer.layer(work).oneshot(request.unwrap()).await.unwrap();
    answer.into_body().collect().await.unwrap();
}

/// All connections are held for too long, and a checkout times out.
async fn run_out<C: Tested>(people: &Outputs<C>, texts: &mut Texts) {
    let mut held = people.pool.get().await.unwrap();
    held.batch_execute("BEGIN").await.unwrap();
    held.bound(
        "SELECT id FROM people WHERE id = $1 AND email = $2",
        BOUND_NUMBER,
        BOUND,
    )
    .await
    .unwrap();
    let second = people.pool.get().await.unwrap();
    let waiting = people.pool.get().with_context(people.request());
    let (error, ()) = tokio::join!(waiting, async {
        let pending = async || people.pool.status().pending;
        until("it waits", pending, |pending| *pending == 1).await;
        people.ask(texts).await;
    });
    let error = error.unwrap_err();
    texts.error("timeout", &error);
    let answer = error.into_response().into_body().collect().await.unwrap();
    texts.add("503", String::from_utf8_lossy(&answer.to_bytes()));
    // One checkout waits for longer than `slow_wait`, and is served.
    let late = people.pool.get();
    let (late, ()) = tokio::join!(late, async {
        tokio::time::sleep(Duration::from_millis(20)).await;
        drop((held, second));
    });
    drop(late.unwrap());
}

/// Reports are read while queries run, and the queries are dropped.
async fn drop_queries<C: Tested>(people: &Outputs<C>, texts: &mut Texts) {
    let sleep = match C::database_name() {
        "postgres" => "SELECT pg_sleep(30)",
        _ => "SELECT SLEEP(30)",
    };
    let mut conn = people.pool.get().await.unwrap();
    if C::database_name() == "mariadb" {
        // With this, the server includes bind values when it shows a statement.
        conn.run("SET GLOBAL general_log = ON").await.unwrap();
    }
    let bound = format!("{sleep}, $1 AS bound_n, $2 AS bound_word");
    tokio::select! {
        ended = conn.bound(&bound, BOUND_NUMBER, BOUND) => panic!("{ended:?}"),
        () = collect_during(people, texts, "AS bound_word") => {}
    }
    drop(conn);
    let mut conn = people.pool.get().await.unwrap();
    let literal = format!("{sleep}, {LITERAL_NUMBER} AS n, '{LITERAL}' AS written_word");
    tokio::select! {
        ended = conn.run(&literal) => panic!("{ended:?}"),
        () = collect_during(people, texts, "? AS n, ? AS written_word") => {}
    }
}

/// Collects everything once the statement is among it.
async fn collect_during<C: Tested>(people: &Outputs<C>, texts: &mut Texts, statement: &str) {
    let connections = async || serde_json::to_string(&people.pool.connections().await).unwrap();
    until("seen", connections, |report| report.contains(statement)).await;
    people.ask(texts).await;
}
