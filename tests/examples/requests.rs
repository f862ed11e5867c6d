//! The quickstart's routes, with valid and invalid requests.

use bytes::Bytes;
use http::{Method, Request, StatusCode};
use http_body_util::Full;
use serde_json::json;

use crate::app::{App, assert_is_problem};
use crate::databases::{Database, mariadb, postgres, sqlite};
use crate::support::http as client;

#[tokio::test]
async fn users_are_added_and_found_on_sqlite() {
    users_are_added_and_found(sqlite()).await;
}

#[tokio::test]
async fn users_are_added_and_found_on_postgres() {
    users_are_added_and_found(postgres("requests")).await;
}

#[tokio::test]
async fn users_are_added_and_found_on_mariadb() {
    users_are_added_and_found(mariadb("requests")).await;
}

async fn users_are_added_and_found(database: Database) {
    let app = App::quiet(&[("DATABASE_URL", &database.url)]);
    let users = app.get("/users").await;
    assert_eq!(
        (users.status, users.json().as_array().map(Vec::len)),
        (StatusCode::OK, Some(12))
    );

    let new = json!({ "name": " Zoë 🦀 ", "email": "zoe@example.com" }).to_string();
    let added = app.post("/users", &new).await;
    assert_eq!(added.status, StatusCode::CREATED, "{}", added.text());
    assert_eq!(added.json()["name"], "Zoë 🦀");
    assert_eq!(app.get("/users").await.json()[12], added.json());

    let again = app.post("/users", &new).await;
    assert_eq!(again.status, StatusCode::CONFLICT);
    assert!(
        again.text().contains("zoe@example.com already"),
        "{}",
        again.text()
    );

    let orders = app.get("/users/1/orders").await.json();
    assert_eq!(orders[1]["item"], "a lamp");
    let none = app
        .get(&format!("/users/{}/orders", added.json()["id"]))
        .await;
    assert_eq!((none.status, none.json()), (StatusCode::OK, json!([])));

    for path in [
        "/slow?ms=1",
        "/query?ms=20",
        "/transaction?ms=1",
        "/slow?ms=0",
    ] {
        let answer = app.get(path).await;
        assert_eq!(answer.status, StatusCode::OK, "{path}: {}", answer.text());
    }
    let status = app.report("status").await;
    assert_eq!(
        (
            &status["checked_out"],
            &status["totals"]["connections_closed"]["broken"]
        ),
        (&json!(0), &json!(0))
    );
}

#[tokio::test]
async fn an_invalid_user_is_rejected_with_the_reason() {
    let app = App::quiet(&[]);
    let long = "x".repeat(101);
    for (body, status, why) in [
        (
            r#"{"name":" ","email":"a@b"}"#,
            422,
            "name: expected 1 to 100 characters, it is empty",
        ),
        (
            &format!(r#"{{"name":"{long}","email":"a@b"}}"#),
            422,
            "1 to 100 characters, it has 101",
        ),
        (
            r#"{"name":"a\u0000","email":"a@b"}"#,
            422,
            "name: expected no control characters",
        ),
        (
            r#"{"name":"a","email":"nobody"}"#,
            422,
            "email: expected something like",
        ),
        (
            r#"{"name":"a","email":"@b"}"#,
            422,
            "email: expected something like",
        ),
        (r#"{"name":"a"}"#, 422, "missing field `email`"),
        (r#"{"name":1,"email":"a@b"}"#, 422, "expected a string"),
        (r#"{"name":"a""#, 400, "EOF while parsing"),
    ] {
        let answer = app.post("/users", body).await;
        assert_eq!(answer.status, status, "{body}: {}", answer.text());
        assert_is_problem(&answer);
        assert!(answer.text().contains(why), "{body}: {}", answer.text());
    }
    let untyped = Request::post(app.url_of("/users"))
        .body(Full::new(Bytes::from("{}")))
        .expect("a request");
    let answer = client::try_send(untyped).await.expect("an answer");
    assert_eq!(answer.status, StatusCode::UNSUPPORTED_MEDIA_TYPE);
    assert_is_problem(&answer);
    // No request reached the pool.
    assert_eq!(app.report("status").await["totals"]["checkouts"], 0);
}

#[tokio::test]
async fn other_invalid_requests_are_rejected_with_the_reason() {
    let app = App::quiet(&[]);
    for (path, status, why) in [
        ("/users/4711/orders", 404, "there is no user 4711"),
        ("/users/ada/orders", 400, "`ada`"),
        ("/slow?ms=30001", 400, "from 0 to 30000"),
        ("/query?ms=-1", 400, "from 0 to 30000"),
        ("/transaction?ms=long", 400, "from 0 to 30000"),
        ("/slow?ms=1&ms=2", 400, "from 0 to 30000"),
        ("/nothing", 404, "no such route"),
        ("/api/v1/monitoring/pool/nothing", 404, "no such report"),
    ] {
        let answer = app.get(path).await;
        assert_eq!(answer.status, status, "{path}: {}", answer.text());
        assert_is_problem(&answer);
        assert!(answer.text().contains(why), "{path}: {}", answer.text());
    }
    let answer = client::send(Method::DELETE, &app.url_of("/users"), "").await;
    assert_eq!(answer.status, StatusCode::METHOD_NOT_ALLOWED);
    assert_is_problem(&answer);
}
