//! Two quickstarts that start on the same empty database.

use futures_util::future::join_all;
use http::StatusCode;

use crate::app::App;
use crate::databases::{Database, mariadb, postgres, sqlite};

#[tokio::test]
async fn concurrent_starts_create_the_tables_once_on_sqlite() {
    concurrent_starts_create_the_tables_once(sqlite()).await;
}

#[tokio::test]
async fn concurrent_starts_create_the_tables_once_on_postgres() {
    concurrent_starts_create_the_tables_once(postgres("together")).await;
}

#[tokio::test]
async fn concurrent_starts_create_the_tables_once_on_mariadb() {
    concurrent_starts_create_the_tables_once(mariadb("together")).await;
}

async fn concurrent_starts_create_the_tables_once(database: Database) {
    let start = || App::quiet(&[("DATABASE_URL", &database.url)]);
    let (one, other) = (start(), start());
    let requests = (0..20).map(|n| {
        if n % 2 == 0 {
            one.get("/users")
        } else {
            other.get("/users")
        }
    });
    for answer in join_all(requests).await {
        assert_eq!(answer.status, StatusCode::OK, "{}", answer.text());
        assert_eq!(
            answer.json().as_array().map(Vec::len),
            Some(12),
            "{}",
            answer.text()
        );
    }
    assert_eq!(other.get("/n-plus-one").await.json()["orders"], 24);
}
